# The rig's processes: each is started once, known by its pid and start time, and ended by nothing else.
# Sourced by `cluster`. shellcheck shell=bash

born() { [ -r "/proc/$1/stat" ] && sed 's/.*) //' "/proc/$1/stat" | awk '$1 != "Z" {print $20}'; } # start time; nothing for a zombie

pid() { # the pid of NAME, if it is the process that was started here
  local number start
  read -r number start 2>/dev/null <"$STATE/pids/$1" || return 1
  [ -n "$start" ] && [ "$(born "$number")" = "$start" ] && echo "$number"
}

taken() { # PORT: prints who listens where we would; virtual devices listen on the same ports of other loopback addresses
  ss -Hlntp "sport = :$1" | tr -s ' ' | awk '$4 !~ /^127\./ || $4 ~ /^127\.0\.0\.1:/'
}

start() { # NAME PORT PROGRAM ARGS...: in the background, its output in logs/NAME.log; PORT (or -) must be free
  local name=$1 port=$2 number
  shift 2
  pid "$name" >/dev/null && return
  [ "$port" = - ] || [ -z "$(taken "$port")" ] || die "port $port is taken: $(taken "$port")"
  setsid "$@" >>"$STATE/logs/$name.log" 2>&1 </dev/null 9>&- &
  number=$!
  echo "$number $(born "$number")" >"$STATE/pids/$name"
}

stop() { # SECONDS NAME...: ask all, wait up to SECONDS in all, then kill
  local name number left=$(($1 * 20))
  shift
  for name; do if number=$(pid "$name"); then kill "$number" 2>/dev/null || true; fi; done
  for name; do
    while pid "$name" >/dev/null && [ "$left" -gt 0 ]; do
      sleep 0.05
      left=$((left - 1))
    done
    if number=$(pid "$name"); then kill -9 "$number" 2>/dev/null || true; fi
    while pid "$name" >/dev/null; do sleep 0.05; done
    rm -f "$STATE/pids/$name"
  done
}

await() { # NAME SECONDS COMMAND...: until COMMAND succeeds, while NAME lives
  local name=$1 deadline=$((SECONDS + $2))
  shift 2
  until "$@" >/dev/null 2>&1; do
    pid "$name" >/dev/null || { tail -5 "$STATE/logs/$name.log" >&2; die "$name ended; see $STATE/logs/$name.log"; }
    [ "$SECONDS" -lt "$deadline" ] || { tail -5 "$STATE/logs/$name.log" >&2; die "$name is not ready in time; see $STATE/logs/$name.log"; }
    sleep 0.1
  done
}

containers_away() { # kill and forget every container of our containerd, and the network namespaces of its pods
  local container spaces="" entry child
  if pid containerd >/dev/null; then
    spaces=$(for container in $(ctrd containers ls -q); do ctrd containers info "$container"; done | grep -oE '/run/netns/cni-[0-9a-f-]+' | sort -u || true)
    for container in $(ctrd tasks ls -q); do
      ctrd tasks kill -a -s KILL "$container" >/dev/null 2>&1 || true
      ctrd tasks delete -f "$container" >/dev/null 2>&1 || true
    done
    for container in $(ctrd containers ls -q); do
      ctrd containers delete "$container" >/dev/null 2>&1 || true
      rm -f /var/lib/cni/results/*-"$container"-*
    done
  fi
  stop 10 containerd
  for entry in /proc/[0-9]*; do # a shim left over, and what it runs
    { tr '\0' ' ' <"$entry/cmdline"; } 2>/dev/null | grep -q "^[^ ]*containerd-shim.* -address $RUN/containerd.sock" || continue
    for child in $(cat "$entry"/task/*/children 2>/dev/null) "${entry#/proc/}"; do kill -9 "$child" 2>/dev/null || true; done
  done
  for entry in $spaces; do
    umount "$entry" 2>/dev/null || true
    rm -f "$entry"
  done
}

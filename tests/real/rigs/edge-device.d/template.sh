# The disk that every device starts as a copy of: Debian with systemd and snapd, and the stand-in snaps installed in it.
# Sourced by `edge-device`. shellcheck shell=bash

pack() { mksquashfs "$1" "$2" -noappend -comp zstd -Xcompression-level 3 -no-xattrs -all-root -no-progress >/dev/null; }

snap_yaml() { # NAME TYPE
  printf 'name: %s\nversion: "rig"\nsummary: stand-in %s\ndescription: stand-in %s\ntype: %s\narchitectures: [%s]\n' \
    "$1" "$1" "$1" "$2" "$(dpkg --print-architecture)"
}

bootstrap() { # the two file systems, at the same time
  local base
  mmdebstrap --quiet --variant=minbase --include=python3,ca-certificates bookworm "$TEMPLATE/base.tar" 2>"$TEMPLATE/base.log" &
  base=$!
  mmdebstrap --quiet --variant=minbase \
    --include=systemd,systemd-sysv,dbus,snapd,squashfs-tools,ca-certificates,python3-minimal,iproute2,procps,udev,curl \
    bookworm "$TEMPLATE/root" 2>"$TEMPLATE/root.log" || { wait "$base" || true; die "mmdebstrap failed; see $TEMPLATE/root.log"; }
  wait "$base" || die "mmdebstrap failed; see $TEMPLATE/base.log"
}

quiet_udev() { # udevd does not run in a container: let what snapd asks of it succeed
  dpkg-divert --root="$TEMPLATE/root" --rename --add /bin/udevadm >/dev/null 2>&1 || true
  rm -f "$TEMPLATE/root/usr/bin/udevadm"
  printf '#!/bin/sh\nexit 0\n' >"$TEMPLATE/root/usr/bin/udevadm"
  chmod +x "$TEMPLATE/root/usr/bin/udevadm"
}

pack_bases() {
  local base=$TEMPLATE/base snapd=$TEMPLATE/snapd name
  mkdir "$base"
  tar -C "$base" -xf "$TEMPLATE/base.tar" --exclude='./dev/*'
  rm "$TEMPLATE/base.tar"
  (
    cd "$base"
    mkdir -p meta snap var/lib/snapd var/snap run media lib/modules lib/firmware mnt sys proc dev root home tmp usr/lib/snapd usr/src
    rm -rf var/lib/apt/lists/* var/cache/apt/* usr/share/doc/* usr/share/locale/*
    ln -sf ../lib/snapd/snapctl usr/bin/snapctl
  )
  for name in core22 core24; do
    snap_yaml $name base >"$base/meta/snap.yaml"
    pack "$base" "$TEMPLATE/root/root/$name.snap"
  done
  mkdir -p "$snapd/meta" "$snapd/usr/lib" "$snapd/usr/bin"
  cp -a "$TEMPLATE/root/usr/lib/snapd" "$snapd/usr/lib/"
  cp -a "$TEMPLATE/root/usr/bin/snap" "$snapd/usr/bin/"
  snap_yaml snapd snapd >"$snapd/meta/snap.yaml"
  pack "$snapd" "$TEMPLATE/root/root/snapd.snap"
  rm -rf "$base" "$snapd"
}

build() {
  local started snap
  packages
  [ ! -e "$TEMPLATE/ready" ] || return 0
  started=$(now)
  mkdir -p "$TEMPLATE"
  exec 9>"$TEMPLATE/lock"
  flock 9
  if [ ! -e "$TEMPLATE/ready" ]; then
    say "making the devices' disk and the base snaps (about half a minute)"
    rm -rf --one-file-system "$TEMPLATE/root" "$TEMPLATE/base" "$TEMPLATE/snapd"
    bootstrap
    quiet_udev
    mkdir -p "$TEMPLATE/root/etc/systemd/system/snapd.service.d"
    printf '[Service]\nEnvironment=SNAP_REEXEC=0\n' >"$TEMPLATE/root/etc/systemd/system/snapd.service.d/rig.conf"
    printf '127.0.0.1 localhost\n::1 localhost ip6-localhost\n' >"$TEMPLATE/root/etc/hosts"
    pack_bases
    ( # booted once, to install the bases
      NAME=template DEVICE=$TEMPLATE
      trap down EXIT
      boot
      for snap in snapd core22 core24; do
        # The first install may find snapd restarting into the snapd snap.
        inside snap install --dangerous /root/$snap.snap >/dev/null 2>&1 || inside snap install --dangerous /root/$snap.snap >&2
      done
      inside snap wait system seed.loaded
    )
    rm -f "$TEMPLATE"/root/root/*.snap
    : >"$TEMPLATE/root/etc/machine-id"
    rm -rf "$TEMPLATE"/root/var/log/journal/*
    touch "$TEMPLATE/ready"
    say "made in $(since "$started") s"
  fi
  exec 9>&-
}

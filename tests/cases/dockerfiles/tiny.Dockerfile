# Runtime tiny 1.0.0 for linux/arm64. Nothing of the image runs while it is built: an image for any platform needs no emulation.
FROM --platform=$BUILDPLATFORM scratch AS tools
ADD tools.tar /
ENV PATH=/usr/bin LC_ALL=C

# Debian packages, unpacked; what their maintainer scripts would have done is in files/.
FROM tools AS base
RUN --mount=type=bind,source=debs,target=/debs <<'END'
set -eu
mkdir /layer && cd /layer
mkdir -p usr/bin && ln -s usr/bin bin
mkdir -p usr/sbin && ln -s usr/sbin sbin
mkdir -p usr/lib && ln -s usr/lib lib
mkdir -p usr/lib64 && ln -s usr/lib64 lib64
for deb in /debs/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar --extract --keep-directory-symlink; done
find . -mindepth 1 -regextype posix-extended \( \
     -regex ./usr/share/man \
  -o -regex ./usr/share/info \
  -o -regex ./usr/share/locale \
  -o -regex ./usr/share/lintian \
  -o -regex ./usr/share/doc-base \
  -o -regex ./usr/share/bug \
  -o -regex ./usr/share/menu \
  -o -regex ./usr/share/applications \
  -o -regex ./usr/share/pixmaps \
  -o -regex ./usr/share/binfmts \
  -o -regex ./usr/share/debconf \
  -o -regex ./usr/share/readline \
  -o -regex ./usr/share/python3 \
  -o -regex './usr/lib/[^/]*/gconv' \
  -o -regex ./usr/lib/valgrind \
  -o -regex './usr/bin/py3[^/]*' \
  -o -regex './usr/bin/pydoc[^/]*' \
  -o -regex './usr/bin/pygettext[^/]*' \
  -o -regex './(.*/)?__pycache__' \
  -o -regex './(.*/)?[^/]*\.pyc' \
  -o -regex './(.*/)?[^/]*\.a' \
  -o -regex ./usr/share/gdb \
  -o -regex './usr/lib/(a|b)' \
\) -prune -exec rm -rf {} +
if [ -d usr/share/doc ]; then
  find usr/share/doc -mindepth 2 ! -type d -regextype posix-extended ! -regex 'usr/share/doc/[^/]+/copyright' -delete
fi
if [ -d usr/share/ca-certificates ]; then
  mkdir -p etc/ssl/certs
  find usr/share/ca-certificates -type f -name '*.crt' | sort | while IFS= read -r file; do
    printf '%s\n' "$(cat "$file")"
  done >etc/ssl/certs/ca-certificates.crt
fi
find . -mindepth 1 -type d -empty -delete
[ -d usr/lib64 ] || rm lib64
mkdir -p tmp dev proc sys run mnt/models var/tmp root usr/bin usr/sbin usr/lib
END
COPY files/ /layer/

# Wheels, each in a tree of its own.
FROM tools AS wheels
RUN --mount=type=bind,source=wheels,target=/wheels <<'END'
set -eu
for folder in /wheels/*; do
  mkdir -p "/layers/${folder##*/}/usr/lib/snapedge/site-packages"
  cd "/layers/${folder##*/}/usr/lib/snapedge/site-packages"
  unzip -q "$folder"/*.whl
  chmod -R go-w .
  for part in *.data/purelib *.data/platlib *.data/data; do
    if [ -d "$part" ]; then cp -a "$part/." .; fi
  done
  rm -rf ./*.data
  find . -mindepth 1 -regextype posix-extended \( \
       -regex ./bin \
    -o -regex './[^/]*\.dist-info/RECORD' \
    -o -regex './[^/]*\.dist-info/INSTALLER' \
    -o -regex './[^/]*\.dist-info/REQUESTED' \
    -o -regex './[^/]*\.dist-info/direct_url\.json' \
    -o -regex './[^/]*\.dist-info/uv_cache\.json' \
    -o -regex './(.*/)?__pycache__' \
    -o -regex './(.*/)?[^/]*\.pyc' \
    -o -regex './(.*/)?[^/]*\.pyi' \
    -o -regex './(.*/)?[^/]*\.pxd' \
    -o -regex './(.*/)?[^/]*\.h' \
    -o -regex './(.*/)?[^/]*\.a' \
    -o -regex './(.*/)?tests' \
  \) -prune -exec rm -rf {} +
  find . -mindepth 1 -type d -empty -delete
done
END

FROM scratch
COPY --from=base /layer/ /
COPY --from=wheels /layers/numpy/ /
COPY --from=wheels /layers/onnxruntime/ /
COPY app/ /usr/lib/snapedge/app/
ENV PATH="/usr/bin"
ENV GREETING="say \"\$x\\y\""
EXPOSE 8080/tcp
WORKDIR /
USER 65532:65532
ENTRYPOINT ["/usr/bin/python3", "-m", "server"]

# What an instance does when it starts for the first time: it fetches a release of elbow, checks it,
# installs it, writes its settings and starts it. For Amazon Linux 2023 and Debian 12 or later, on
# Arm and x86-64.
#
# This is the end of a script. Whoever makes user data of it writes before it, as the templates and
# the commands beside it do: `#!/bin/sh` and three variables.
#
#   RELEASE_URL      the folder with the files that deploy/release makes, by https
#   RELEASE_SHA256   the SHA-256 of the file SHA256SUMS there, which vouches for all others
#   SETTINGS         lines for /etc/default/elbow, such as ELBOW_LB=nlb
set -eu
exec 2>&1

case $(uname -m) in
  aarch64) package=arm64 archive=aarch64 ;;
  x86_64) package=amd64 archive=x86_64 ;;
  *) echo "elbow: there is no release for $(uname -m)"; exit 1 ;;
esac

# TLS to Redis is in builds of their own.
case $SETTINGS in
  *ELBOW_REDIS=rediss:*) name=elbow-tls ;;
  *) name=elbow ;;
esac

if command -v dpkg >/dev/null; then
  wanted="${name}_[^_]*_$package[.]deb"
else
  wanted="$name-[0-9][^-]*-$archive-linux[.]tar[.]gz"
fi

if ! command -v curl >/dev/null; then
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
    -o DPkg::Lock::Timeout=300 curl ca-certificates
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# fetch FILE: a network that is not there yet is waited for, whatever it says meanwhile.
fetch() {
  curl --fail --silent --show-error --location --max-time 120 \
    --retry 10 --retry-delay 3 --retry-all-errors --output "$1" "${RELEASE_URL%/}/$1"
}

fetch SHA256SUMS
echo "$RELEASE_SHA256  SHA256SUMS" | sha256sum --check --quiet -
file=$(sed -n "s/^[0-9a-f]\{64\}  \($wanted\)\$/\1/p" SHA256SUMS)
[ -n "$file" ] || { echo "elbow: the release has no file like $wanted"; exit 1; }
fetch "$file"
sed -n "/  $file\$/p" SHA256SUMS | sha256sum --check --quiet -

# The settings come first, since the package starts the service at once.
begin='# What user data set:'
mkdir -p /etc/default
[ -e /etc/default/elbow ] || : >/etc/default/elbow
sed -i "/^$begin\$/,\$d" /etc/default/elbow
printf '%s\n%s\n' "$begin" "$SETTINGS" >>/etc/default/elbow

# A machine that has just started may be installing something else: that is waited for.
case $file in
  *.deb)
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --allow-downgrades \
      -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "./$file"
    ;;
  *) tar -xzf "$file" --no-same-owner --no-overwrite-dir -C / ;;
esac

if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  systemctl enable elbow.service
  systemctl restart elbow.service
  elbow health --url http://127.0.0.1:3001/healthz
  echo "elbow: $file is installed and serves"
else
  echo "elbow: $file is installed; systemd does not run here, so nothing was started"
fi

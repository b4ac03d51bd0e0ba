#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Usage: stage.sh DIRECTORY
# Lays out in DIRECTORY what every package has, as it will be below /. What differs from one
# distribution to another is not here. build/man and build/completion are made before.
set -eu

root=$1
top=$(CDPATH='' cd "$(dirname "$0")/../.." && pwd)
cd "$top"
rm -rf "$root"
library=$root/usr/lib/lpttrace

mkdir -p "$library"
.venv/bin/pip --disable-pip-version-check install --quiet --no-compile --no-deps --require-hashes \
	--platform any --python-version 3.9 --only-binary=:all: \
	--requirement deploy/package/vendored.txt --target "$library"
# Their commands, and what only a type checker or pip would read.
rm -rf "${library:?}/bin"
find "$library" \( -name py.typed -o -name '*.pyi' -o -name RECORD -o -name INSTALLER \
	-o -name REQUESTED -o -name direct_url.json \) -delete

# Modules that are no commands here.
find "$library" -name "*.py" -exec sed -i "1{/^#!/d}" {} +

mkdir -p "$library/lpttrace"
cp lpttrace/*.py "$library/lpttrace"
cp -R bpf "$library/lpttrace/bpf"
install -D -m 755 deploy/package/lpttrace "$root/usr/bin/lpttrace"

install -d "$root/usr/share/man/man1"
install -m 644 build/man/*.1 "$root/usr/share/man/man1"
install -d "$root/usr/share/man/man5"
install -m 644 build/man/*.5 "$root/usr/share/man/man5"
completions=$root/usr/share/bash-completion/completions
install -D -m 644 build/completion/lpttrace.bash "$completions/lpttrace"
install -D -m 644 -t "$root/usr/share/fish/vendor_completions.d" build/completion/lpttrace.fish

share=$root/usr/share/lpttrace
mkdir -p "$share"
for directory in dashboards deploy/prometheus; do
	[ ! -d "$directory" ] || cp -R "$directory" "$share"
done
find "$root" -type d -exec chmod 755 {} +
find "$root" -type f ! -path "$root/usr/bin/*" -exec chmod 644 {} +

#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Usage: deb.sh STAGE COMPLETIONS VERSION RESULT
# Makes the Debian package RESULT of a staged tree.
set -eu

stage=$1 completions=$2 version=$3 result=$4
here=$(CDPATH='' cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

tree=$scratch/lpttrace-$version
mkdir "$tree"
cp -R "$here/debian" "$tree/debian"
cp -R "$stage" "$tree/stage"
rm -f "$tree/stage/.done"
cp -R "$completions" "$tree/completion"
cp "$here"/../systemd/lpttrace.service "$here"/../systemd/lpttrace.socket "$tree/debian"
# Not under its own name, which debhelper takes for Debian's changelog.
cp "$here/../../CHANGELOG.md" "$tree/NEWS.md"
cp "$here/../../README.md" "$tree"
maintainer=$(sed -n 's/^Maintainer: //p' "$tree/debian/control")
cat >"$tree/debian/changelog" <<END
lpttrace ($version) unstable; urgency=medium

  * See CHANGELOG.md of this version.

 -- $maintainer  $(date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")
END
(cd "$tree" && dpkg-buildpackage --build=binary --no-sign --post-clean) >"$scratch/log" 2>&1 ||
	{ cat "$scratch/log" >&2; exit 1; }
mkdir -p "$(dirname "$result")"
cp "$scratch/lpttrace_${version}_all.deb" "$result"

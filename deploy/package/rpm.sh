#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Usage: rpm.sh STAGE COMPLETIONS VERSION RESULT
# Makes the RPM package RESULT of a staged tree.
set -eu

stage=$1 completions=$2 version=$3 result=$4
here=$(CDPATH='' cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

tree=$scratch/tree
cp -R "$stage" "$tree"
rm -f "$tree/.done"
install -D -m 644 -t "$tree/usr/lib/systemd/system" \
	"$here/../systemd/lpttrace.service" "$here/../systemd/lpttrace.socket"
install -D -m 644 "$completions/lpttrace.zsh" "$tree/usr/share/zsh/site-functions/_lpttrace"
gzip -9n "$tree"/usr/share/man/man*/*
mkdir -p "$scratch/rpm/BUILD"
cp "$here/../../LICENSE" "$here/../../README.md" "$here/../../CHANGELOG.md" "$scratch/rpm/BUILD"
rpmbuild -bb --quiet --define "_topdir $scratch/rpm" --define "_build_name_fmt %%{NAME}.rpm" \
	--define "lpttrace_version $version" --define "lpttrace_tree $tree" \
	--define "use_source_date_epoch_as_buildtime 1" --define "clamp_mtime_to_source_date_epoch 1" \
	"$here/lpttrace.spec" >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; exit 1; }
mkdir -p "$(dirname "$result")"
cp "$scratch/rpm/RPMS/lpttrace.rpm" "$result"

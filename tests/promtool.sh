#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Usage: promtool.sh DIRECTORY
# Puts Debian's promtool and prometheus into DIRECTORY/usr/bin. Installing the package would start a
# server.
set -eu

directory=$1
[ ! -x "$directory/usr/bin/promtool" ] || exit 0

mkdir -p "$directory"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# apt drops to its own user for downloads, who may not write here.
(cd "$scratch" && apt-get -o APT::Sandbox::User=root --quiet download prometheus)
dpkg-deb --extract "$scratch"/prometheus_*.deb "$directory"

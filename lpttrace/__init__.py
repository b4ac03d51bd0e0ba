# SPDX-License-Identifier: GPL-2.0-only
"""What guest time costs on KVM/arm64 hosts: hypercalls, pvtime updates and timer traps."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"

# SPDX-License-Identifier: GPL-2.0-only
"""python3 -m lpttrace."""

from __future__ import annotations

from lpttrace.cli import main

if __name__ == "__main__":
    main()

# SPDX-License-Identifier: GPL-2.0-only
"""What tracing costs: `run` on the developer's machine, `inside` in the lab's."""

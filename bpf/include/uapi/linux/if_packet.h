/* SPDX-License-Identifier: GPL-2.0-only */
/* For bcc's packet helpers, which are not used. */

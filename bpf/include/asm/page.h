/* SPDX-License-Identifier: GPL-2.0-only */
/* bcc asks for it to size ring buffers, of which there are none. */

/* SPDX-License-Identifier: GPL-2.0-only */
/* The lines on the guest's console by which its /init speaks to the VMM. */
#ifndef LINUX_WORDS_H
#define LINUX_WORDS_H

#define WORD_READY  "lablinux: ready"
#define WORD_REPORT "lablinux: report " /* and a JSON object */

#endif

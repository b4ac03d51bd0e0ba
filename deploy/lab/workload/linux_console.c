// SPDX-License-Identifier: GPL-2.0-only
/* The guest's console: a UART that is always ready, and what its /init says on
 * it. */
#include <string.h>
#include <unistd.h>

#include "lablinux.h"
#include "linux_words.h"

#define UART_DR 0x00
#define UART_FR 0x18

/* nothing received, nothing left to send */
#define FR_RXFE (1 << 4)
#define FR_TXFE (1 << 7)

bool is_uart(uint64_t address)
{
	return address >= UART_BASE && address < UART_BASE + UART_SIZE;
}

uint32_t uart_read(uint64_t address)
{
	return address == UART_BASE + UART_FR ? FR_RXFE | FR_TXFE : 0;
}

static bool starts_with(const char *text, const char *word)
{
	return !strncmp(text, word, strlen(word));
}

static enum said take_line(struct linux_guest *guest)
{
	guest->line[guest->line_size] = '\0';
	guest->line_size = 0;
	if (!strcmp(guest->line, WORD_READY))
		return SAID_READY;
	if (starts_with(guest->line, WORD_REPORT)) {
		strcpy(guest->report, guest->line + strlen(WORD_REPORT));
		return SAID_REPORT;
	}
	fprintf(guest->console, "%s\n", guest->line);
	return SAID_NOTHING;
}

enum said uart_write(struct linux_guest *guest, uint64_t address, uint8_t byte)
{
	if (address != UART_BASE + UART_DR || byte == '\r')
		return SAID_NOTHING;
	if (byte == '\n')
		return take_line(guest);
	if (guest->line_size < sizeof(guest->line) - 1)
		guest->line[guest->line_size++] = byte;
	return SAID_NOTHING;
}

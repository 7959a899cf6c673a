/*
 * link.h - the line to a microcontroller: one request, one reply, until the
 * reply is right or the tries are used up. Both modules of this folder use it.
 *
 *     request  55 command number size size payload crc crc
 *     reply    AA status  number size size payload crc crc
 *
 * The size is that of the payload and at most LINK_PAYLOAD; all numbers have
 * their low byte first. The CRC is CRC-16/XMODEM over what lies between the
 * first byte and itself. The number is that of the request, so that a reply
 * that comes late is not taken for the next one; a request that is tried again
 * keeps it. Every request may be tried again: none changes what it has done.
 */
#ifndef LINK_H
#define LINK_H

#include "updraft.h"

enum {
	LINK_BLOCK = 256,
	LINK_PAYLOAD = 4 + LINK_BLOCK,
	LINK_HEAD = 5,
	LINK_VERSION = 24,    /* bytes of a version, padded with spaces */
	LINK_TRIES = 8,
	LINK_PATIENCE = 250,  /* ms for a reply, unless the setting patience says otherwise */
	LINK_FIRST_PAUSE = 20 /* ms before the second try, then twice as long each time */
};

enum { LINK_ACK = 0x06, LINK_NAK = 0x15, LINK_REFUSED = 0x18 }; /* the status of a reply */

/* Beside the errnos: */
enum {
	LINK_NOISE = -100, /* damaged replies, or NAK for what it got, in all tries */
	LINK_NO = -101     /* it cannot be, now or later; link.said has why */
};

struct link {
	char port[UD_MAX_KEY + 1];
	char said[64]; /* why, behind LINK_NO */
	int64_t patience;
	uint8_t number;
	uint8_t reply[LINK_PAYLOAD + 2];
};

/* What the microcontroller says of itself. */
struct part {
	bool loader; /* in its boot loader, else its image runs */
	uint32_t room; /* bytes of flash */
	uint32_t size, crc; /* of the image that it would run; size 0 for none */
	char version[LINK_VERSION + 1];
};

static inline uint32_t link_u32(const uint8_t *p) { return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24; }

static inline void link_put32(uint8_t *p, uint32_t n)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(n >> 8 * i);
}

static inline uint16_t link_crc16(uint16_t crc, const uint8_t *p, int32_t n)
{
	for (; n > 0; n--) {
		crc ^= (uint16_t)(*p++ << 8);
		for (int i = 0; i < 8; i++)
			crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
	}
	return crc;
}

/* CRC-32 as zip has it. Begins with 0, and goes on with what it gave. */
static inline uint32_t link_crc32(uint32_t crc, const uint8_t *p, int32_t n)
{
	for (crc = ~crc; n > 0; n--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
	}
	return ~crc;
}

/* Reads the settings port and patience. */
static inline int32_t link_open(struct link *l)
{
	int32_t n = ud_setting_text("port", l->port, sizeof l->port);

	if (n < 0 || (size_t)n >= sizeof l->port)
		return n < 0 ? n : UD_EINVAL;
	n = ud_setting_number("patience", &l->patience);
	if (n == UD_ENOENT)
		l->patience = LINK_PATIENCE;
	else if (n < 0 || l->patience < 1 || l->patience > 60000)
		return UD_EINVAL;
	return 0;
}

/* Sends size bytes, and receives exactly n. */
static inline int32_t link_receive(struct link *l, const uint8_t *send, int32_t size, uint8_t *p, int32_t n)
{
	int32_t got = ud_serial_xfer(l->port, send, (size_t)size, p, (size_t)n, (int32_t)l->patience);
	return got < 0 || got == n ? got : UD_ETIMEDOUT;
}

/* One try: sends the frame and gives the size of the reply's payload. */
static inline int32_t link_try(struct link *l, const uint8_t *frame, int32_t size)
{
	uint8_t head[LINK_HEAD];
	uint16_t crc;
	int32_t n = link_receive(l, frame, size, head, LINK_HEAD), payload;

	for (int late = 0; n >= 0 && late < LINK_TRIES; late++) {
		payload = head[3] | head[4] << 8;
		if (head[0] != 0xaa || payload > LINK_PAYLOAD)
			return LINK_NOISE;
		if ((n = link_receive(l, frame, 0, l->reply, payload + 2)) < 0)
			return n;
		crc = link_crc16(link_crc16(0, head + 1, LINK_HEAD - 1), l->reply, payload);
		if (crc != (l->reply[payload] | l->reply[payload + 1] << 8))
			return LINK_NOISE;
		if (head[2] == frame[2])
			return head[1] == LINK_ACK ? payload : head[1] == LINK_REFUSED ? LINK_NO - payload : LINK_NOISE;
		n = link_receive(l, frame, 0, head, LINK_HEAD); /* that was for an earlier one */
	}
	return n < 0 ? n : LINK_NOISE;
}

/* Keeps n bytes of text as why there is no way on. */
static inline int32_t link_no(struct link *l, const void *why, uint32_t n)
{
	if (n > sizeof l->said - 1)
		n = sizeof l->said - 1;
	for (uint32_t i = 0; i < n; i++)
		l->said[i] = ((const char *)why)[i];
	l->said[n] = 0;
	return LINK_NO;
}

static inline int32_t link_say(struct link *l, const char *why) { return link_no(l, why, ud_length(why)); }

/* Waits before a further try, longer each time, and drops what came late of
 * the one that ended with why. */
static inline int32_t link_pause(struct link *l, int try, int32_t why)
{
	uint8_t rest[LINK_PAYLOAD];
	int32_t n = ud_sleep_ms(LINK_FIRST_PAUSE << (try - 1));

	if (n < 0 || why == UD_ECONN)
		return n;
	n = ud_serial_xfer(l->port, rest, 0, rest, sizeof rest, 1);
	return n == UD_ECONN ? 0 : n; /* the next try will tell */
}

/* Asks until there is an answer. Gives the size of l->reply, or why there is
 * none: UD_ECONN, UD_ETIMEDOUT or LINK_NOISE of the last try, LINK_NO, or what
 * the host said. */
static inline int32_t link_ask(struct link *l, char command, const uint8_t *payload, int32_t size)
{
	uint8_t frame[LINK_HEAD + LINK_PAYLOAD + 2] = {0x55, (uint8_t)command, ++l->number, (uint8_t)size, (uint8_t)(size >> 8)};
	uint16_t crc;
	int32_t n = 0, end = LINK_HEAD + size;

	for (int32_t i = 0; i < size; i++)
		frame[LINK_HEAD + i] = payload[i];
	crc = link_crc16(0, frame + 1, end - 1);
	frame[end++] = (uint8_t)crc;
	frame[end++] = (uint8_t)(crc >> 8);
	for (int try = 0; try < LINK_TRIES; try++) {
		if (try > 0 && (n = link_pause(l, try, n)) < 0)
			return n;
		n = link_try(l, frame, end);
		if (n <= LINK_NO)
			return link_no(l, l->reply, (uint32_t)(LINK_NO - n));
		if (n >= 0 || (n != UD_ECONN && n != UD_ETIMEDOUT && n != LINK_NOISE))
			return n;
	}
	return n;
}

/* Asks the microcontroller what it is and runs. */
static inline int32_t link_query(struct link *l, struct part *p)
{
	const uint8_t *r = l->reply;
	int32_t n = link_ask(l, 'Q', 0, 0);

	if (n < 0)
		return n;
	if (n != 13 + LINK_VERSION)
		return LINK_NOISE;
	p->loader = r[0] == 'B';
	p->room = link_u32(r + 1), p->size = link_u32(r + 5), p->crc = link_u32(r + 9);
	for (n = LINK_VERSION; n > 0 && (r[12 + n] == ' ' || r[12 + n] == 0);)
		n--;
	p->version[n] = 0;
	while (n-- > 0)
		p->version[n] = (char)r[13 + n];
	return 0;
}

/* Reads n bytes of flash, at most LINK_BLOCK, into l->reply. */
static inline int32_t link_read(struct link *l, uint32_t off, int32_t n)
{
	uint8_t payload[6] = {0, 0, 0, 0, (uint8_t)n, (uint8_t)(n >> 8)};
	int32_t got;

	link_put32(payload, off);
	got = link_ask(l, 'R', payload, sizeof payload);
	return got < 0 || got == n ? got : LINK_NOISE;
}

/* Erases and writes a block, or what the image has of its last one. */
static inline int32_t link_write(struct link *l, uint32_t off, const uint8_t *p, int32_t n)
{
	uint8_t payload[LINK_PAYLOAD];

	link_put32(payload, off);
	for (int32_t i = 0; i < n; i++)
		payload[4 + i] = p[i];
	return link_ask(l, 'W', payload, 4 + n);
}

/* Starts the image of this size and CRC, if it is whole. */
static inline int32_t link_run(struct link *l, uint32_t size, uint32_t crc)
{
	uint8_t payload[8];

	link_put32(payload, size), link_put32(payload + 4, crc);
	return link_ask(l, 'G', payload, sizeof payload);
}

/* Leaves for the report what ended a phase and gives its class. A line that is
 * dead now may live later, unless nobody asks again. */
static inline int32_t link_end(const struct link *l, const char *what, int32_t n, bool again)
{
	bool line = n == UD_ECONN || n == UD_ETIMEDOUT || n == LINK_NOISE;

	if (n >= 0)
		return UD_OK;
	if (!line && n != LINK_NO)
		return ud_failed(what, n);
	return ud_report(line && again ? UD_RETRY_LATER : UD_FAILED, what, n == LINK_NO ? l->said : n == LINK_NOISE ? "only noise or NAK on the line" : ud_strerror(n));
}

#endif /* LINK_H */

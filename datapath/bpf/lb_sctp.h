/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The checksum of SCTP (RFC 9260 appendix A) is a CRC over the whole packet, header and data. A CRC is linear: the change
 * of a port changes the checksum by the CRC of that change alone, followed by as many zeros as there are bytes behind it.
 * So it is brought up to date without a look at the data.
 */
#ifndef LB_SCTP_H
#define LB_SCTP_H

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#define CRC32C 0x82f63b78 /* Castagnoli, reflected */

/* Product of two polynomials modulo CRC32C; bit 31 is the coefficient of x^0. */
static __always_inline __u32 crc_multiply(__u32 one, __u32 other)
{
	__u32 product = 0;

	for (int i = 0; i < 32; i++) { /* without branches: the verifier would follow them all */
		product ^= other & -(one >> 31);
		one <<= 1;
		other = (other >> 1) ^ (CRC32C & -(other & 1));
	}
	return product;
}

/* `change`: old and new first word (both ports), exclusive or, as a little-endian machine loads it. `behind`: bytes that
 * follow that word. */
__attribute__((noinline)) __u32 lb_sctp_check(__u32 check, __u32 change, __u32 behind)
{
	__u32 power = 0x00800000; /* x^8: one zero byte */
	__u32 crc = change;

	/* The word itself is shifted out once as any CRC input is, then the zeros behind it. */
	behind += 4;
	for (int i = 0; i < 17; i++) {
		if (behind & 1)
			crc = crc_multiply(crc, power);
		power = crc_multiply(power, power);
		behind >>= 1;
	}
	return check ^ crc;
}

#endif

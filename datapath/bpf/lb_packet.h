/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What both hooks know about packets: the parsed form, how they are read, addresses, checksums. */
#ifndef LB_PACKET_H
#define LB_PACKET_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "lb_abi.h"

#define AF_INET 2
#define AF_INET6 10

#define IP_MORE_FRAGMENTS 0x2000 /* RFC 791 */
#define IP_DONT_FRAGMENT 0x4000
#define IP_OFFSET 0x1fff
#define IP6_MORE_FRAGMENTS 1 /* RFC 8200 section 4.5 */
#define IP6_OFFSET 0xfff8

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* linux/icmp.h cannot be had without libc's headers for the target. RFC 792, RFC 1191, RFC 4443. */
#define ICMP4_ECHO_REPLY 0
#define ICMP4_UNREACHABLE 3
#define ICMP4_UNREACHABLE_PORT 3
#define ICMP4_UNREACHABLE_TOO_BIG 4
#define ICMP4_ECHO 8
#define ICMP4_TIME_EXCEEDED 11
#define ICMP4_PARAMETER_PROBLEM 12
#define ICMP6_UNREACHABLE 1
#define ICMP6_UNREACHABLE_PORT 4
#define ICMP6_TOO_BIG 2
#define ICMP6_MAX_ERROR 127
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129

/* Both versions begin like this. */
struct icmp {
	__u8 type;
	__u8 code;
	__u16 check;
	union {
		struct {
			__be16 unused;
			__be16 mtu4;
		};
		__be32 mtu6;
	};
};

/* TCP, UDP and SCTP begin with these. */
struct ports {
	__be16 source;
	__be16 dest;
};

struct sctp {
	struct ports ports;
	__be32 tag;
	__le32 check;
};

/* As struct ethhdr, but that one is packed, and copied byte by byte. */
struct ether {
	struct lb_mac dest;
	struct lb_mac source;
	__be16 kind;
};

struct vlan {
	__be16 tci;
	__be16 kind;
};

/* An extension header: options and routes have a length in units of 8 bytes and go on behind this; the fragment header has
 * none (RFC 8200 section 4). */
struct ip6_extension {
	__u8 next;
	__u8 length;
	union {
		__be16 offset; /* fragment */
		struct {
			__u8 type; /* route */
			__u8 segments_left;
		};
	};
	__be32 id; /* fragment */
};

#define PACKET_FIRST_FRAGMENT 1 /* more follow */
#define PACKET_LATER_FRAGMENT 2 /* has no transport header */
#define PACKET_QUOTED 4         /* inside of an ICMP error: cut off, and its lengths are those of the whole */
#define PACKET_OWN 8            /* from this host: one that the device has yet to cut (BIG TCP) does not say its length */

/*
 * A packet as far as it was understood. Offsets count from the beginning of the frame; packet pointers are not kept,
 * because they end with the next change of the frame.
 */
struct packet {
	struct lb_address source;
	struct lb_address dest;
	struct ports ports;
	__be32 fragment_id;
	__u32 length; /* of the IP packet, as its header says */
	__u32 device; /* that it came in by: the VLAN device of a tagged one, if there is one */
	__u32 hash;   /* of the flow, once it is chosen by */
	__u16 l3;
	__u16 l4;
	__u16 vlan[2];    /* ids of the tags, outer one first; 0: none */
	__u8 family;      /* AF_INET, AF_INET6 */
	__u8 protocol;    /* of the transport header */
	__u8 flags;       /* PACKET_ */
	__u8 tcp;         /* the flags of TCP */
	__u8 tos;
	__u8 ttl;
	__u8 icmp_type;
	__u8 icmp_code;
};

static __always_inline __be16 ethertype(__u8 family)
{
	return family == AF_INET ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
}

static __always_inline void map_address(struct lb_address *to, __be32 address)
{
	to->word_be[0] = 0;
	to->word_be[1] = 0;
	to->word_be[2] = bpf_htonl(0xffff);
	to->word_be[3] = address;
}

static __always_inline bool same_address(const struct lb_address *one, const struct lb_address *other)
{
	return !((one->word_be[0] ^ other->word_be[0]) | (one->word_be[1] ^ other->word_be[1]) |
		 (one->word_be[2] ^ other->word_be[2]) | (one->word_be[3] ^ other->word_be[3]));
}

/* Turns a packet that was sent back, and is quoted by an ICMP error, into one of the flow that it answers. */
static __always_inline void reverse(struct packet *p)
{
	struct lb_address source = p->source;
	__be16 port = p->ports.source;

	p->source = p->dest;
	p->dest = source;
	p->ports.source = p->ports.dest;
	p->ports.dest = port;
}

static __always_inline bool no_address(const struct lb_address *address)
{
	return !(address->word_be[0] | address->word_be[1] | address->word_be[2] | address->word_be[3]);
}

/* __builtin_memcmp would become a call to a function that BPF does not have. */
static __always_inline bool same_mac(const struct lb_mac *one, const struct lb_mac *other)
{
	return !((one->words[0] ^ other->words[0]) | (one->words[1] ^ other->words[1]) | (one->words[2] ^ other->words[2]));
}

/* --- checksums: RFC 1624, equation 3: HC' = ~(~HC + ~m + m') ------------------------------------------------------- */

/* Sums of ~m + m' are collected in 64 bits, in words of any size (RFC 1071 section 2 (C)), and folded once at the end. */
static __always_inline __u32 csum_fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

static __always_inline __u16 csum_update(__u16 check, __u64 delta)
{
	return ~csum_fold((__u16)~check + delta);
}

static __always_inline __u64 csum_delta16(__u16 from, __u16 to)
{
	return (__u64)(__u16)~from + to;
}

static __always_inline __u64 csum_delta32(__u32 from, __u32 to)
{
	return (__u64)(__u32)~from + to;
}

/* The words that are the same in both (IPv4: the first three) add a zero of either sign. */
static __always_inline __u64 csum_delta_address(const struct lb_address *from, const struct lb_address *to)
{
	return csum_delta32(from->word_be[0], to->word_be[0]) + csum_delta32(from->word_be[1], to->word_be[1]) +
	       csum_delta32(from->word_be[2], to->word_be[2]) + csum_delta32(from->word_be[3], to->word_be[3]);
}

/* RFC 768: zero means that the sender computed none, and a computed zero is sent as all ones. */
static __always_inline __u16 csum_update_udp(__u16 check, __u64 delta)
{
	if (!check)
		return 0;
	check = csum_update(check, delta);
	return check ? check : 0xffff;
}

static __always_inline __u16 header_csum(const struct iphdr *ip)
{
	const __u16 *words = (const void *)ip;
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < (int)(sizeof(*ip) / 2); i++)
		sum += words[i];
	return ~csum_fold(sum);
}

/* --- reading ------------------------------------------------------------------------------------------------------- */

/*
 * The packet's bounds. Loaded by hand: the fields of the context are 32 bits wide while the verifier gives them the type of
 * a pointer, and a compiler that copies such a value with a 32-bit move loses that type.
 */
#define PACKET_BOUND(field)                                                                                            \
	static __always_inline void *packet_##field(const struct xdp_md *ctx)                                          \
	{                                                                                                              \
		void *pointer;                                                                                         \
                                                                                                                       \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                                                  \
			     : "=r"(pointer)                                                                           \
			     : "r"(ctx), "i"(offsetof(struct xdp_md, field)));                                         \
		return pointer;                                                                                        \
	}
PACKET_BOUND(data)
PACKET_BOUND(data_end)
PACKET_BOUND(data_meta)
#undef PACKET_BOUND

/* By hand too: a compiler may load it from a pointer into the context, which is not allowed. */
static __always_inline __u32 ingress_device(const struct xdp_md *ctx)
{
	__u32 ifindex;

	asm volatile("%0 = *(u32 *)(%1 + %2)"
		     : "=r"(ifindex)
		     : "r"(ctx), "i"(offsetof(struct xdp_md, ingress_ifindex)));
	return ifindex;
}

/* All headers begin below this offset. */
#define PACKET_REACH 0x3ff

/*
 * A pointer to `size` bytes at an offset that the verifier knows nothing of, NULL if they are not there. The mask is in
 * assembler because the compiler, which knows more, would leave it out.
 */
static __always_inline void *at(const struct xdp_md *ctx, __u32 offset, __u32 size)
{
	void *start;

	asm volatile("%0 &= %1" : "+r"(offset) : "i"(PACKET_REACH));
	start = packet_data(ctx) + offset;
	return start + size > packet_data_end(ctx) ? NULL : start;
}

#endif

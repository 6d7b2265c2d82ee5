/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * What the BPF programs and user space both know: map layouts and the reasons that are counted.
 *
 * datapath/abi.py says the same in Python; datapath/shim.c exports what the compiler made of this file, and the two are
 * compared when the shim is opened. Fields named _be are in network byte order, all others in that of the host.
 * Structs have no holes: keys are hashed as bytes.
 */
#ifndef LB_ABI_H
#define LB_ABI_H

#include <linux/types.h>

/* Every packet that the programs look at ends in exactly one of these: X(name, action of the XDP program). */
#define LB_REASONS(X)                                                                                                  \
	X(not_ours, PASS)         /* not for a VIP: untouched */                                                       \
	X(local, PASS)            /* translated to a backend on this node */                                           \
	X(decapsulated, PASS)     /* IPIP from another node, translated to a backend on this node */                   \
	X(remote_tx, TX)          /* encapsulated, out of the device it came in by */                                  \
	X(remote_redirect, REDIRECT) /* encapsulated, out of another device */                                         \
	X(no_service, DROP)       /* our VIP, nothing is served on this port */                                        \
	X(unassigned, DROP)       /* no VIP, but inside an aggregate that is announced from here */                    \
	X(no_backend, DROP)       /* a frontend without backends */                                                    \
	X(not_tcp_udp, DROP)      /* our VIP, another protocol (ICMP too) */                                           \
	X(ip_options, DROP)       /* our VIP, IPv4 options */                                                          \
	X(fragment, DROP)         /* our VIP, a fragment: ports are in the first one only */                           \
	X(truncated, DROP)        /* our VIP, headers or lengths that do not fit the packet */                         \
	X(other_host, DROP)       /* our VIP, but flooded to us: the frame has another host's address */               \
	X(ttl, DROP)              /* would reach zero here */                                                          \
	X(too_big, DROP)          /* larger than the MTU with the outer header */                                      \
	X(no_route, DROP)         /* the FIB knows no way to the backend */                                            \
	X(no_neighbour, DROP)     /* the next hop's link-layer address is not resolved */                              \
	X(forwarding_off, DROP)   /* net.ipv4.ip_forward is 0 */                                                       \
	X(bad_row, DROP)          /* the Maglev row names no backend: damaged maps */                                  \
	X(no_headroom, DROP)      /* the driver left no room for the outer header */                                   \
	X(no_reply_entry, DROP)   /* the reply could not be translated back, so the request is refused */              \
	X(reply, PASS)            /* tc: reply translated back to the VIP */                                           \
	X(reply_fragment, DROP)   /* tc: fragmented reply: its later fragments could not be translated */              \
	X(reply_error, DROP)      /* tc: the kernel refused to rewrite a reply */

enum lb_reason {
#define LB_REASON_ENUM(name, action) LB_##name,
	LB_REASONS(LB_REASON_ENUM)
#undef LB_REASON_ENUM
	LB_REASON_MAX,
};

/* What a packet is matched by. */
struct lb_frontend_key {
	__u32 vip_be;
	__u16 port_be;
	__u8 protocol;
	__u8 pad;
};

/* Where the Maglev row of a frontend stands in lb_rows, in slots. length 0: no backends. One 8-byte value, so that a
 * switch to another row is one update that a reader sees whole. */
struct lb_row {
	__u32 offset;
	__u32 length;
};

/* lb_rows is one array of slots (backend ids), cut into pages: an array map's elements are at least 8 bytes, and bigger
 * elements are not padded. Consecutive pages are consecutive in memory, so a row may cross them. */
#define LB_PAGE_SLOTS 1024

struct lb_row_page {
	__u32 slots[LB_PAGE_SLOTS];
};

#define LB_BACKEND_USED 1
#define LB_BACKEND_LOCAL 2

/* Entry 0 of lb_backends is never used, so that a zeroed slot names no backend. */
struct lb_backend {
	__u32 address_be;
	__u16 port_be;
	__u8 flags;
	__u8 pad;
	__u32 source_be; /* outer source of IPIP towards it: the node's preferred source; 0 if there is no route */
	__u32 pad2;
};

/* Encapsulated packets that this node takes: outer destination and inner destination. */
struct lb_decap_key {
	__u32 backend_be;
	__u32 vip_be;
	__u16 port_be;
	__u8 protocol;
	__u8 pad;
};

struct lb_decap {
	__u16 port_be; /* of the backend */
	__u16 pad;
};

/* Prefixes whose addresses are dropped unless they are VIPs; for IPv4 the length counts from ::ffff:0:0/96. */
struct lb_guard_key {
	__u32 prefix_length;
	__be32 address[4];
};

/* What the reply of a local backend carries; and what it has to carry. The client is part of the key: the pod may talk
 * from the same port to others, and that is none of our business. */
struct lb_reply_key {
	__u32 backend_be;
	__u32 client_be;
	__u16 backend_port_be;
	__u16 client_port_be;
	__u8 protocol;
	__u8 pad[3];
};

struct lb_reply {
	__u32 vip_be;
	__u16 port_be;
	__u16 pad;
};

/* A packet that BPF_PROG_TEST_RUN sends through the program carries this as XDP metadata. Such a packet is not counted
 * and leaves no reply entry; the program writes its answer into it. No packet from a wire has metadata when the first
 * XDP program sees it, and one that had would gain nothing but not to be counted. */
#define LB_PROBE_MAGIC 0x4c6b5072

struct lb_probe {
	__u32 magic;
	__u32 reason;
	__u32 backend; /* id, 0: none chosen */
	__u32 ifindex; /* device it would leave by, 0: none */
};

#define LB_STRUCTS(X)                                                                                                  \
	X(lb_frontend_key, 8)                                                                                          \
	X(lb_row, 8)                                                                                                   \
	X(lb_row_page, 4096)                                                                                           \
	X(lb_backend, 16)                                                                                              \
	X(lb_decap_key, 12)                                                                                            \
	X(lb_decap, 4)                                                                                                 \
	X(lb_guard_key, 20)                                                                                            \
	X(lb_reply_key, 16)                                                                                            \
	X(lb_reply, 8)                                                                                                 \
	X(lb_probe, 16)

#define LB_STRUCT_SIZE(name, size) _Static_assert(sizeof(struct name) == (size), "layout of " #name);
LB_STRUCTS(LB_STRUCT_SIZE)
#undef LB_STRUCT_SIZE

#endif

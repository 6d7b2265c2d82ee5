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
	X(decapsulated, PASS)     /* IPIP or Geneve from another node, translated to a backend on this node */         \
	X(geneve_stray, PASS)     /* Geneve from another node for a backend that this one does not have: untouched */  \
	X(remote_tx, TX)          /* encapsulated, out of the device it came in by */                                  \
	X(remote_redirect, REDIRECT) /* encapsulated, out of another device */                                         \
	X(geneve_tx, TX)          /* encapsulated in Geneve, out of the device it came in by */                        \
	X(geneve_redirect, REDIRECT) /* the same, out of another device */                                             \
	X(snat_tx, TX)            /* to a remote backend from an address of this node, out of the device it came in by */ \
	X(snat_redirect, REDIRECT) /* the same, out of another device */                                               \
	X(snat_reply_tx, TX)      /* the answer to it: from the VIP to the client, out of the device it came in by */  \
	X(snat_reply_redirect, REDIRECT) /* the same, out of the device by which the client's packets come */          \
	X(snat_reply_stack, PASS) /* the same, left to the stack: another device, or a neighbour to be resolved */     \
	X(echo, TX)               /* ICMP echo request to a served VIP, answered */                                    \
	X(mtu_answer, TX)         /* would not fit with the outer header: answered with the MTU that would */          \
	X(rejected, TX)           /* a frontend without backends that says so: answered with a reset or "port unreachable" */ \
	X(no_service, DROP)       /* our VIP, nothing is served on this port */                                        \
	X(unassigned, DROP)       /* no VIP, but inside an aggregate that is announced from here */                    \
	X(source_not_allowed, DROP) /* a frontend that lets in certain clients, and this is none of them */            \
	X(no_backend, DROP)       /* a frontend without backends */                                                    \
	X(other_protocol, DROP)   /* our VIP, a protocol that has no ports */                                          \
	X(icmp, DROP)             /* our VIP, ICMP that is neither an echo request to answer nor about a served flow */ \
	X(fragment, DROP)         /* our VIP, a later fragment whose first one was not seen */                         \
	X(extension, DROP)        /* our VIP, more IPv6 extension headers than we follow, or a route to go on */       \
	X(truncated, DROP)        /* our VIP, headers or lengths that do not fit the packet */                         \
	X(other_host, DROP)       /* our VIP, but flooded to us: the frame has another host's address */               \
	X(geneve_damaged, DROP)   /* Geneve from another node with lengths or headers that do not fit */               \
	X(ttl, DROP)              /* would reach zero here */                                                          \
	X(too_big, DROP)          /* would not fit with the outer header, and cannot be answered */                    \
	X(no_route, DROP)         /* the FIB knows no way to the backend */                                            \
	X(no_neighbour, DROP)     /* the next hop's link-layer address is not resolved */                              \
	X(forwarding_off, DROP)   /* net.ipv4.ip_forward, net.ipv6.conf.all.forwarding is 0 */                         \
	X(bad_row, DROP)          /* the row names no backend: damaged maps */                                         \
	X(no_headroom, DROP)      /* the driver left no room for the outer header */                                   \
	X(no_reply_entry, DROP)   /* the reply could not be translated back, so the request is refused */              \
	X(no_snat_port, DROP)     /* every port that was tried towards this backend is taken, or the table is full */  \
	X(no_fragment_entry, DROP) /* later fragments could not follow this one */                                     \
	X(reply, PASS)            /* tc: reply translated back to the VIP */                                           \
	X(reply_error, DROP)      /* tc: the kernel refused to rewrite a reply */

enum lb_reason {
#define LB_REASON_ENUM(name, action) LB_##name,
	LB_REASONS(LB_REASON_ENUM)
#undef LB_REASON_ENUM
	LB_REASON_MAX,
};

/* Both families: IPv4 as an IPv4-mapped address (RFC 4291 section 2.5.5.2). */
struct lb_address {
	__be32 word_be[4];
};

/* What a packet is matched by. */
struct lb_frontend_key {
	struct lb_address vip;
	__u16 port_be;
	__u8 protocol;
	__u8 pad;
};

/*
 * Where the block of a frontend stands in lb_rows, and how it is laid out:
 *
 *   members   backend ids, 32 bits each: first those that may take new connections, then those that only keep theirs
 *   row       1 << bits slots of 16 bits: a position among the members, and LB_SLOT_TRANSITION; with up to
 *             LB_NARROW_MEMBERS members of 8 bits, of which the highest says so
 *   previous  1 << previous_bits positions (if previous_bits): who owned the slot before, or LB_NOBODY
 *
 * With LB_FRONTEND_RENDEZVOUS, which all frontends of 2 to LB_RENDEZVOUS_MEMBERS members have of which all take new
 * connections and no slot is in transition, no row follows but what would make it: for each member 32 bits, which are,
 * from the lowest,
 *
 *   12  the rank (in lb_ranks) with which its walk begins
 *   12  how far each slot is from the one before
 *    4  its position among the members
 *    4  the higher, the earlier its turn: of two to whom a slot is as dear
 *
 * and such a block lies in one page.
 *
 * A frontend without members has no block. The value is replaced as a whole: a reader sees one block or the other.
 */
struct lb_frontend {
	__u32 block; /* in units of 4 bytes */
	__u16 serving;
	__u16 members;
	__u8 bits;
	__u8 previous_bits;
	__u8 flags;
	__u8 pad;
	__u32 since; /* when the last slot went into transition, in units of LB_CLOCK_SHIFT; only for user space */
	__u32 sources; /* the set of lb_sources that clients have to be in; 0: everybody is let in */
};

/*
 * What lb_frontends says of one frontend, in one cache line, and what its block says if that holds preferences of few members
 * (the flag LB_FRONTEND_HERE). Lines stand close together, since what has to fit the processor's cache is what they take; which
 * one is a frontend's, lb_places says. Frontends of the same place take turns, and for those that have no line lb_frontends
 * is asked, which is always right and takes longer.
 *
 * `at`: where in the line the rest begins, or 0: the line says nothing. User space makes it 0 before it changes the frontend's
 * entry, and fills the line when no program can be reading it any more. It is an offset, and not a flag, so that what is read
 * behind it is read after it: processors keep the order of loads of which one needs the other's result. Its word is written
 * and read as a whole, so the others in it are no older.
 *
 * With LB_FRONTEND_HERE there are the preferences of the members, of each the lowest 24 bits, in the order of their turns, and
 * their positions, 4 bits each; `first` is where the block is. With LB_FRONTEND_NEAR as well, what stands for the positions is
 * how far their ids are from `first`.
 */
#define LB_SHORTCUT_BITS 16
#define LB_SHORTCUT_AT 4
#define LB_SHORTCUT_MEMBERS 10
#define LB_SHORTCUT_NEAR 15 /* how far apart ids may be */

struct lb_shortcut {
	union {
		struct {
			__u8 at;
			__u8 members;
			__u8 flags;
			__u8 protocol;
		};
		__u32 word;
	};
	__u16 port_be;
	__u16 pad;
	struct lb_address vip;
	union {
		struct lb_frontend frontend;
		struct {
			__u32 first;
			__u8 preferences[3 * LB_SHORTCUT_MEMBERS];
			__u8 whose[6]; /* the last of the line */
		};
	};
};

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "lines are read in words, and preferences where they are not aligned");

/* By place: the number of a line; 0: of none. A place follows from the key. */
struct lb_places {
	__u16 lines[1 << LB_SHORTCUT_BITS];
};

/* The row is chosen by the client's address alone. */
#define LB_FRONTEND_AFFINITY 1
/* Remote backends get its packets from an address of this node, and answer to it; else they answer the client themselves. */
#define LB_FRONTEND_SNAT 2
/* Packets for which there is no backend are answered, not dropped. */
#define LB_FRONTEND_REJECT 4
/* The block holds preferences instead of a row. */
#define LB_FRONTEND_RENDEZVOUS 8
/* Remote backends get its packets in Geneve, by way of their nodes: they are all LB_BACKEND_GENEVE. */
#define LB_FRONTEND_GENEVE 16
/* Only in lb_shortcuts: see there. What the program then keeps as `block` is the number of the line. */
#define LB_FRONTEND_HERE 32
#define LB_FRONTEND_NEAR 64

#define LB_RENDEZVOUS_MEMBERS 16
#define LB_RENDEZVOUS_BITS 12

/* A fixed disorder of the numbers below its length: datapath/rendezvous.py. */
struct lb_ranks {
	__u16 ranks[1 << LB_RENDEZVOUS_BITS];
};

#define LB_SLOT_TRANSITION 0x8000
#define LB_NOBODY 0x7fff
#define LB_NARROW_MEMBERS 0x7e
#define LB_NARROW_TRANSITION 0x80

/* Coarse time: CLOCK_MONOTONIC in nanoseconds, shifted by this. About a second. */
#define LB_CLOCK_SHIFT 30

/* lb_rows is one array, cut into pages: an array map's elements are at least 8 bytes, and bigger elements are not padded.
 * Consecutive pages are consecutive in memory, so a block may cross them. */
#define LB_PAGE_WORDS 1024

struct lb_row_page {
	union {
		__u32 words[LB_PAGE_WORDS];
		__u16 halves[2 * LB_PAGE_WORDS];
		__u8 bytes[4 * LB_PAGE_WORDS];
	};
};

#define LB_BACKEND_USED 1
#define LB_BACKEND_LOCAL 2
/* lb_nodes has the address of its node, to which its packets are sent; `source` and the next hop are those towards it. */
#define LB_BACKEND_GENEVE 4

/* A link-layer address. In words, because compilers copy what may stand anywhere byte by byte. */
struct lb_mac {
	__u16 words[3];
};

/* The way to a next hop, as the FIB has it. */
struct lb_hop {
	__u32 ifindex; /* 0: none */
	__u16 mtu;
	struct lb_mac dmac;
	struct lb_mac smac;
	__u16 pad;
};

/*
 * One cache line. Entry 0 of lb_backends is never used, so that a zeroed member names no backend. `generation` changes when
 * the id is given up: a flow entry that names the id of an earlier backend is void.
 *
 * `stamp` and `hop`: the next hop as the FIB last gave it, written by the program itself.
 */
struct lb_backend {
	struct lb_address address;
	struct lb_address source; /* of the outer header towards it: the node's preferred source; zero if there is no route */
	__u32 generation;
	__u16 port_be;
	__u8 flags;
	__u8 pad;
	__u32 stamp; /* jiffies of the look-up */
	struct lb_hop hop;
};

/*
 * Geneve (RFC 8926) from one node to another. Inside is the packet as the client sent it; one option names the backend that
 * it is for. The class is one of those for experimental use (section 7). Whoever does not know the option has to drop the
 * packet ("critical", section 3.5.1): its destination is the VIP, and it would go round in circles.
 */
#define LB_GENEVE_PORT 6081
#define LB_GENEVE_VNI 0x4c6b50
#define LB_GENEVE_CLASS 0xff4c
#define LB_GENEVE_TYPE 0x81

/* Encapsulated packets that this node takes: the backend (outer destination of IP in IP) and inner destination. */
struct lb_decap_key {
	struct lb_address backend;
	struct lb_address vip;
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
	struct lb_address address;
};

/*
 * Clients that are let in, as sets of prefixes: `prefix_length` counts `set` (32 bits) and the address, in which an IPv4
 * prefix begins behind ::ffff:0:0/96. The value is prefix_length again: so a look-up says which prefix it found.
 *
 * A set is never changed while a frontend names it: another one takes its place by an update of the frontend's entry.
 */
struct lb_source_key {
	__u32 prefix_length;
	__u32 set;
	struct lb_address address;
};

/* A VIP has at least one frontend with backends. Only such a VIP answers an echo request. */
#define LB_VIP_SERVES 1

struct lb_vip {
	__u32 flags;
};

/*
 * The first look of every packet: one bit for each VIP's address, which several share. An address whose bit is not set is no
 * VIP; one whose bit is set may be. `guards`: how many prefixes lb_guards holds. `filled`: the bits are right; 0 in a new map.
 * `snat_first` to `snat_last`: the ports from which packets go to remote backends of frontends with LB_FRONTEND_SNAT, and to
 * which these answer; 0: there is no such frontend. `unstacked`: lb_vlans and lb_vlan_ways are empty, so untagged packets
 * need not be looked up in them.
 */
#define LB_SIEVE_BITS 18
#define LB_SIEVE_FACTOR 0x9e3779b97f4a7c15ULL
#define LB_SIEVE_FOLD 0xff51afd7ed558ccdULL

struct lb_sieve {
	__u32 guards;
	__u32 filled;
	__u16 snat_first;
	__u16 snat_last;
	__u32 unstacked;
	__u32 pad[12];
	__u64 words[(1 << LB_SIEVE_BITS) / 64];
};

/* A flow in a slot that is in transition. */
struct lb_flow_key {
	struct lb_address client;
	struct lb_address vip;
	__u16 client_port_be;
	__u16 port_be;
	__u8 protocol;
	__u8 pad[3];
};

struct lb_flow {
	__u32 backend;
	__u32 generation; /* of the backend */
	__u32 hash;
	__u32 seen; /* coarse time */
};

/* What the reply of a local backend carries; and what it has to carry. The client is part of the key: the pod may talk
 * from the same port to others, and that is none of our business. */
struct lb_reply_key {
	struct lb_address backend;
	struct lb_address client;
	__u16 backend_port_be;
	__u16 client_port_be;
	__u8 protocol;
	__u8 pad[3];
};

struct lb_reply {
	struct lb_address vip;
	__u16 port_be;
	__u16 answered;  /* on probation: the backend has said something */
	__u32 expect_be; /* on probation: the acknowledgement that shows that the client heard it */
};

/* What a remote backend answers to: an address and a port of this node, which nobody else has towards this backend. */
struct lb_snat_key {
	struct lb_address backend;
	struct lb_address node;
	__u16 backend_port_be;
	__u16 node_port_be;
	__u8 protocol;
	__u8 pad[3];
};

/* What is known of a connection: by lb_snat_port, and by the direction in which it was seen. */
#define LB_SNAT_ANSWERED 1    /* by the backend */
#define LB_SNAT_ESTABLISHED 2 /* the client has heard the answer: in both entries */
#define LB_SNAT_FIN 4
#define LB_SNAT_RST 8

/* Two entries hold each other's key. This one is found by what the client sends (struct lb_flow_key), ... */
struct lb_snat_flow {
	struct lb_snat_key to;
	__u32 seen; /* coarse time */
	__u8 state;
	__u8 pad[3];
};

/* ... and this one by what the backend answers (struct lb_snat_key). `device`: by which the client's packets come in, if
 * XDP may send to it, else 0. `expect_be`: the acknowledgement that shows that the client heard the answer. */
struct lb_snat_port {
	struct lb_flow_key flow;
	__u32 seen; /* coarse time */
	__u32 device;
	__u32 expect_be;
	__u8 state;
	__u8 pad[3];
};

/* Later fragments have no ports; the first one's are remembered. */
struct lb_fragment_key {
	struct lb_address source;
	struct lb_address dest;
	__u32 id_be;
	__u8 protocol;
	__u8 pad[3];
};

struct lb_fragment {
	__u16 source_be;
	__u16 dest_be;
};

/* By which device on top of this one the kernel would see a frame. Ids, outer one first; 0: no tag, which on the port of a
 * bond leads to the bond. */
struct lb_vlan_key {
	__u32 ifindex;
	__u16 vlan[2];
};

struct lb_vlan {
	__u32 ifindex;
};

/* What a VLAN device (the key is its index) does to a frame that it sends: the device below it that is none, and the tags,
 * outer one first. `kind_be`: 802.1Q or 802.1ad, 0: there is no second tag. */
struct lb_vlan_way {
	__u32 ifindex;
	__u16 kind_be[2];
	__u16 tci_be[2];
};

/* Switches, written by user space. */
#define LB_SETTING_ECHO 1

struct lb_settings {
	__u32 flags;
	__u32 pad;
};

/* A packet that BPF_PROG_TEST_RUN sends through the program carries this as XDP metadata. Such a packet is not counted
 * and leaves no entry; the program writes its answer into it. No packet from a wire has metadata when the first XDP
 * program sees it, and one that had would gain nothing but not to be counted. */
#define LB_PROBE_MAGIC 0x4c6b5072

struct lb_probe {
	__u32 magic;
	__u32 reason;
	__u32 backend; /* id, 0: none chosen */
	__u32 ifindex; /* device it would leave by, 0: none */
};

/* What the program lb_sum is asked and what it says (lb_sum.h). */
#define LB_SUM_FRONTENDS 0
#define LB_SUM_VIPS 1
#define LB_SUM_DECAPS 2

struct lb_sum {
	__u64 map;
	__u64 sum;
};

#define LB_STRUCTS(X)                                                                                                  \
	X(lb_frontend_key, 20)                                                                                         \
	X(lb_frontend, 20)                                                                                             \
	X(lb_shortcut, 64)                                                                                             \
	X(lb_places, 131072)                                                                                           \
	X(lb_row_page, 4096)                                                                                           \
	X(lb_ranks, 8192)                                                                                              \
	X(lb_backend, 64)                                                                                              \
	X(lb_decap_key, 36)                                                                                            \
	X(lb_decap, 4)                                                                                                 \
	X(lb_guard_key, 20)                                                                                            \
	X(lb_source_key, 24)                                                                                           \
	X(lb_vip, 4)                                                                                                   \
	X(lb_sieve, 32832)                                                                                             \
	X(lb_flow_key, 40)                                                                                             \
	X(lb_flow, 16)                                                                                                 \
	X(lb_reply_key, 40)                                                                                            \
	X(lb_reply, 24)                                                                                                \
	X(lb_snat_key, 40)                                                                                             \
	X(lb_snat_flow, 48)                                                                                            \
	X(lb_snat_port, 56)                                                                                            \
	X(lb_fragment_key, 40)                                                                                         \
	X(lb_fragment, 4)                                                                                              \
	X(lb_vlan_key, 8)                                                                                              \
	X(lb_vlan, 4)                                                                                                  \
	X(lb_vlan_way, 12)                                                                                             \
	X(lb_settings, 8)                                                                                              \
	X(lb_probe, 16)                                                                                                \
	X(lb_sum, 16)

#define LB_STRUCT_SIZE(name, size) _Static_assert(sizeof(struct name) == (size), "layout of " #name);
LB_STRUCTS(LB_STRUCT_SIZE)
#undef LB_STRUCT_SIZE

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * The few calls of libbpf that datapath/shim.py needs, behind plain arguments, so that libbpf's versioned option structs
 * stay where a compiler checks them. Every function that can fail returns -errno; what libbpf had to say about it stands
 * in lk_log() until the next call that may fill it. Not for use by several threads at once.
 */
#define _GNU_SOURCE /* vasprintf */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <linux/magic.h>

#include "lb_abi.h"

/* linux/bpf.h of 6.6; the kernel is asked, so an older header is no reason to do without. */
#define LK_BPF_TCX_EGRESS 47

static char log_text[8192];

/* Keeps the end of all that is said: the log of a verifier is long, and what it objects to stands last. */
static int keep(enum libbpf_print_level level, const char *format, va_list arguments)
{
	const size_t room = sizeof(log_text) - 1;
	size_t used = strlen(log_text), length, excess;
	char *said;
	int result;

	if (level == LIBBPF_DEBUG)
		return 0;
	result = vasprintf(&said, format, arguments);
	if (result < 0)
		return result;
	length = result;
	if (length >= room) {
		memcpy(log_text, said + length - room, room + 1);
	} else {
		excess = used + length > room ? used + length - room : 0;
		memmove(log_text, log_text + excess, used - excess);
		memcpy(log_text + used - excess, said, length + 1);
	}
	free(said);
	return result;
}

static int outcome(int result)
{
	return result < 0 ? -errno : result;
}

const char *lk_log(void)
{
	return log_text;
}

/* What the compiler made of lb_abi.h: lines "struct NAME SIZE", "offsets NAME OFFSET...", "reason NAME". */
const char *lk_abi(void)
{
	static char text[4096];
	size_t used = 0;

#define LINE(...) (used += snprintf(text + used, sizeof(text) - used, __VA_ARGS__))
#define STRUCT_LINE(name, size) LINE("struct " #name " %zu\n", sizeof(struct name));
#define REASON_LINE(name, action) LINE("reason " #name "\n");
#define AT(name, field) offsetof(struct name, field)
	LB_STRUCTS(STRUCT_LINE)
	LINE("offsets lb_frontend_key %zu %zu %zu\n", AT(lb_frontend_key, vip), AT(lb_frontend_key, port_be),
	     AT(lb_frontend_key, protocol));
	LINE("offsets lb_frontend %zu %zu %zu %zu %zu %zu %zu %zu\n", AT(lb_frontend, block), AT(lb_frontend, serving),
	     AT(lb_frontend, members), AT(lb_frontend, bits), AT(lb_frontend, previous_bits), AT(lb_frontend, flags),
	     AT(lb_frontend, since), AT(lb_frontend, sources));
	LINE("offsets lb_backend %zu %zu %zu %zu %zu %zu\n", AT(lb_backend, address), AT(lb_backend, source),
	     AT(lb_backend, generation), AT(lb_backend, port_be), AT(lb_backend, flags), AT(lb_backend, stamp));
	LINE("offsets lb_decap_key %zu %zu %zu %zu\n", AT(lb_decap_key, backend), AT(lb_decap_key, vip),
	     AT(lb_decap_key, port_be), AT(lb_decap_key, protocol));
	LINE("offsets lb_decap %zu\n", AT(lb_decap, port_be));
	LINE("offsets lb_guard_key %zu %zu\n", AT(lb_guard_key, prefix_length), AT(lb_guard_key, address));
	LINE("offsets lb_source_key %zu %zu %zu\n", AT(lb_source_key, prefix_length), AT(lb_source_key, set),
	     AT(lb_source_key, address));
	LINE("offsets lb_sieve %zu %zu %zu %zu %zu %zu\n", AT(lb_sieve, guards), AT(lb_sieve, filled), AT(lb_sieve, snat_first),
	     AT(lb_sieve, snat_last), AT(lb_sieve, unstacked), AT(lb_sieve, words));
	LINE("offsets lb_flow_key %zu %zu %zu %zu %zu\n", AT(lb_flow_key, client), AT(lb_flow_key, vip),
	     AT(lb_flow_key, client_port_be), AT(lb_flow_key, port_be), AT(lb_flow_key, protocol));
	LINE("offsets lb_flow %zu %zu %zu %zu\n", AT(lb_flow, backend), AT(lb_flow, generation), AT(lb_flow, hash),
	     AT(lb_flow, seen));
	LINE("offsets lb_reply_key %zu %zu %zu %zu %zu\n", AT(lb_reply_key, backend), AT(lb_reply_key, client),
	     AT(lb_reply_key, backend_port_be), AT(lb_reply_key, client_port_be), AT(lb_reply_key, protocol));
	LINE("offsets lb_reply %zu %zu %zu %zu\n", AT(lb_reply, vip), AT(lb_reply, port_be), AT(lb_reply, answered),
	     AT(lb_reply, expect_be));
	LINE("offsets lb_snat_key %zu %zu %zu %zu %zu\n", AT(lb_snat_key, backend), AT(lb_snat_key, node),
	     AT(lb_snat_key, backend_port_be), AT(lb_snat_key, node_port_be), AT(lb_snat_key, protocol));
	LINE("offsets lb_snat_flow %zu %zu %zu\n", AT(lb_snat_flow, to), AT(lb_snat_flow, seen), AT(lb_snat_flow, state));
	LINE("offsets lb_snat_port %zu %zu %zu %zu %zu\n", AT(lb_snat_port, flow), AT(lb_snat_port, seen),
	     AT(lb_snat_port, device), AT(lb_snat_port, expect_be), AT(lb_snat_port, state));
	LINE("offsets lb_fragment_key %zu %zu %zu %zu\n", AT(lb_fragment_key, source), AT(lb_fragment_key, dest),
	     AT(lb_fragment_key, id_be), AT(lb_fragment_key, protocol));
	LINE("offsets lb_fragment %zu %zu\n", AT(lb_fragment, source_be), AT(lb_fragment, dest_be));
	LINE("offsets lb_vlan_key %zu %zu\n", AT(lb_vlan_key, ifindex), AT(lb_vlan_key, vlan));
	LINE("offsets lb_vlan_way %zu %zu %zu\n", AT(lb_vlan_way, ifindex), AT(lb_vlan_way, kind_be), AT(lb_vlan_way, tci_be));
	LINE("offsets lb_settings %zu\n", AT(lb_settings, flags));
	LINE("offsets lb_probe %zu %zu %zu %zu\n", AT(lb_probe, magic), AT(lb_probe, reason), AT(lb_probe, backend),
	     AT(lb_probe, ifindex));
	LINE("offsets lb_sum %zu %zu\n", AT(lb_sum, map), AT(lb_sum, sum));
	LB_REASONS(REASON_LINE)
	return text;
}

/* --- the object file ---------------------------------------------------------------------------------------------- */

int lk_open(const char *path, void **object)
{
	struct bpf_object *opened;

	log_text[0] = 0;
	libbpf_set_print(keep);
	opened = bpf_object__open_file(path, NULL);
	if (!opened)
		return -errno;
	*object = opened;
	return 0;
}

void lk_close(void *object)
{
	bpf_object__close(object);
}

struct lk_map_info {
	__u32 id, type, key_size, value_size, max_entries, flags;
};

/* How the object declares a map, as lk_map_info tells of one in the kernel. max_entries 0: leave the object's. */
int lk_map_spec(void *object, const char *name, __u32 max_entries, struct lk_map_info *info)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, name);

	if (!map)
		return -ENOENT;
	if (max_entries && bpf_map__set_max_entries(map, max_entries))
		return -errno;
	info->id = 0;
	info->type = bpf_map__type(map);
	info->key_size = bpf_map__key_size(map);
	info->value_size = bpf_map__value_size(map);
	info->max_entries = bpf_map__max_entries(map);
	info->flags = bpf_map__map_flags(map);
	return 0;
}

/* Uses a map that exists already instead of making one at lk_load. */
int lk_map_reuse(void *object, const char *name, int fd)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, name);

	return map ? outcome(bpf_map__reuse_fd(map, fd)) : -ENOENT;
}

int lk_load(void *object)
{
	log_text[0] = 0;
	return outcome(bpf_object__load(object));
}

/* A descriptor of the caller's own, that lives on after lk_close. */
int lk_map_fd(void *object, const char *name)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, name);

	return map ? outcome(fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3)) : -ENOENT;
}

int lk_prog_fd(void *object, const char *name)
{
	struct bpf_program *program = bpf_object__find_program_by_name(object, name);

	return program ? outcome(fcntl(bpf_program__fd(program), F_DUPFD_CLOEXEC, 3)) : -ENOENT;
}

/* --- the bpffs ---------------------------------------------------------------------------------------------------- */

int lk_is_bpffs(const char *path)
{
	struct statfs fs;

	if (statfs(path, &fs))
		return -errno;
	return fs.f_type == BPF_FS_MAGIC;
}

int lk_mount(const char *path)
{
	return outcome(mount("bpf", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700"));
}

int lk_pin(int fd, const char *path)
{
	return outcome(bpf_obj_pin(fd, path));
}

int lk_get(const char *path)
{
	return outcome(bpf_obj_get(path));
}

/* --- what the kernel says of a descriptor ------------------------------------------------------------------------- */

int lk_map_info(int fd, struct lk_map_info *info)
{
	struct bpf_map_info map = {};
	__u32 size = sizeof(map);

	if (bpf_obj_get_info_by_fd(fd, &map, &size))
		return -errno;
	info->id = map.id;
	info->type = map.type;
	info->key_size = map.key_size;
	info->value_size = map.value_size;
	info->max_entries = map.max_entries;
	info->flags = map.map_flags;
	return 0;
}

struct lk_prog_info {
	__u32 id, type, map_count, verified;
	__u8 tag[8];
	__u32 maps[32];
};

int lk_prog_info(int fd, struct lk_prog_info *info)
{
	struct bpf_prog_info prog = {};
	__u32 size = sizeof(prog);

	prog.nr_map_ids = sizeof(info->maps) / sizeof(*info->maps);
	prog.map_ids = (unsigned long)info->maps;
	if (bpf_obj_get_info_by_fd(fd, &prog, &size))
		return -errno;
	info->id = prog.id;
	info->type = prog.type;
	info->map_count = prog.nr_map_ids;
	info->verified = prog.verified_insns;
	memcpy(info->tag, prog.tag, sizeof(info->tag));
	return 0;
}

/* ifindex 0: the device is gone, or the link was detached. */
struct lk_link_info {
	__u32 id, type, prog_id, ifindex;
};

int lk_link_info(int fd, struct lk_link_info *info)
{
	struct bpf_link_info link = {};
	__u32 size = sizeof(link);

	if (bpf_obj_get_info_by_fd(fd, &link, &size))
		return -errno;
	info->id = link.id;
	info->type = link.type;
	info->prog_id = link.prog_id;
	info->ifindex = link.xdp.ifindex; /* tcx begins with its ifindex too */
	return 0;
}

/* --- links -------------------------------------------------------------------------------------------------------- */

int lk_attach_xdp(int prog_fd, int ifindex, int generic)
{
	LIBBPF_OPTS(bpf_link_create_opts, options, .flags = generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);

	return outcome(bpf_link_create(prog_fd, ifindex, BPF_XDP, &options));
}

/* A device that cannot be: a kernel with tcx links looks for it (ENODEV), one without does not come that far (EINVAL). */
int lk_has_tcx(int prog_fd)
{
	int link_fd = bpf_link_create(prog_fd, INT_MAX, LK_BPF_TCX_EGRESS, NULL);

	if (link_fd >= 0) { /* cannot be */
		close(link_fd);
		return 1;
	}
	if (errno == ENODEV)
		return 1;
	return errno == EINVAL ? 0 : -errno;
}

int lk_attach_tcx_egress(int prog_fd, int ifindex)
{
	return outcome(bpf_link_create(prog_fd, ifindex, LK_BPF_TCX_EGRESS, NULL));
}

int lk_link_update(int link_fd, int prog_fd)
{
	return outcome(bpf_link_update(link_fd, prog_fd, NULL));
}

int lk_link_detach(int link_fd)
{
	return outcome(bpf_link_detach(link_fd));
}

/* --- entries ------------------------------------------------------------------------------------------------------ */

int lk_update(int fd, const void *key, const void *value)
{
	return outcome(bpf_map_update_elem(fd, key, value, BPF_ANY));
}

int lk_lookup(int fd, const void *key, void *value)
{
	return outcome(bpf_map_lookup_elem(fd, key, value));
}

int lk_delete(int fd, const void *key)
{
	return outcome(bpf_map_delete_elem(fd, key));
}

/* All entries of a hash map or trie at once; both buffers hold max_entries elements. Returns how many there are. */
int lk_dump(int fd, void *keys, void *values, __u32 max_entries)
{
	__u64 position[8]; /* large enough for the cursor of any kind of hash */
	__u32 count = max_entries;

	if (bpf_map_lookup_batch(fd, NULL, position, keys, values, &count, NULL) && errno != ENOENT)
		return -errno;
	return count;
}

/* --- a packet through a program ----------------------------------------------------------------------------------- */

/* `packet` begins with `meta` bytes of XDP metadata, and so does `out`. Nothing is sent. Returns the verdict. */
int lk_run_xdp(int prog_fd, __u32 ifindex, const void *packet, __u32 size, __u32 meta, void *out, __u32 *out_size)
{
	struct xdp_md context = { .data = meta, .data_end = size, .ingress_ifindex = ifindex };
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = size, .data_out = out,
		    .data_size_out = *out_size, .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = 1);

	if (bpf_prog_test_run_opts(prog_fd, &run))
		return -errno;
	*out_size = run.data_size_out;
	return run.retval;
}

static void put_be16(__u8 *at, __u32 value)
{
	at[0] = value >> 8;
	at[1] = value;
}

/*
 * lk_run_xdp() with this frame from each of `ports` instead of 0; `port_at` and `sum_at`: where in `packet` the port and the
 * checksum over it stand. Writes a byte for each, the verdict, and behind it what lk_run_xdp() does.
 */
int lk_run_xdp_from(int prog_fd, __u32 ifindex, const void *packet, __u32 size, __u32 meta, __u32 port_at, __u32 sum_at,
		    const __u16 *ports, __u32 count, void *out, __u32 *out_size)
{
	__u32 room = *out_size, rest;
	__u8 frame[512], *next = out;

	*out_size = 0;
	if (size > sizeof(frame) || port_at + 2 > size || sum_at + 2 > size)
		return -EINVAL;
	memcpy(frame, packet, size);
	rest = 0xffff & ~(frame[sum_at] << 8 | frame[sum_at + 1]);
	for (__u32 i = 0; i < count; i++) {
		__u32 sum = rest + ports[i], left;
		int verdict;

		if (*out_size == room)
			return -ENOSPC;
		left = room - *out_size - 1;
		sum = 0xffff & ~(sum + (sum >> 16));
		put_be16(frame + port_at, ports[i]);
		put_be16(frame + sum_at, sum ? sum : 0xffff); /* 0 would be: no checksum */
		verdict = lk_run_xdp(prog_fd, ifindex, frame, size, meta, next + 1, &left);
		if (verdict < 0)
			return verdict;
		*next = verdict;
		next += 1 + left;
		*out_size += 1 + left;
	}
	return 0;
}

/* A program of the type "syscall", which is run by nobody else. It finds `context`, and may leave an answer there. */
int lk_run_syscall(int prog_fd, void *context, __u32 size)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .ctx_in = size ? context : NULL, .ctx_size_in = size);

	return outcome(bpf_prog_test_run_opts(prog_fd, &run));
}

/* The same as lk_run_xdp() for a program of tc: the frame begins with its Ethernet header. */
int lk_run_tc(int prog_fd, const void *packet, __u32 size, void *out, __u32 *out_size, __u32 *verdict)
{
	LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = packet, .data_size_in = size, .data_out = out,
		    .data_size_out = *out_size, .repeat = 1);

	if (bpf_prog_test_run_opts(prog_fd, &run))
		return -errno;
	*out_size = run.data_size_out;
	*verdict = run.retval; /* TCX_NEXT is -1 */
	return 0;
}

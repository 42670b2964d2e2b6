/* Datasets, snapshots, bookmarks: what sync tasks change. */
#include "engine.h"

#include <sys/dsl_bookmark.h>
#include <sys/dsl_destroy.h>
#include <sys/dsl_userhold.h>
#include <sys/fs/zfs.h>
#include <sys/zcp.h>

static char *
text(request_t *request, const char *name)
{
	return (fnvlist_lookup_string(request->in, name));
}

/* Some properties are settings of a dataset or directory, not only texts kept with it. */
static int
set_number(const char *dataset, const char *name, uint64_t value)
{
	switch (zfs_name_to_prop(name)) {
	case ZFS_PROP_QUOTA:
		return (dsl_dir_set_quota(dataset, ZPROP_SRC_LOCAL, value));
	case ZFS_PROP_REFQUOTA:
		return (dsl_dataset_set_refquota(dataset, ZPROP_SRC_LOCAL, value));
	case ZFS_PROP_RESERVATION:
		return (dsl_dir_set_reservation(dataset, ZPROP_SRC_LOCAL, value));
	case ZFS_PROP_REFRESERVATION:
		return (dsl_dataset_set_refreservation(dataset, ZPROP_SRC_LOCAL, value));
	case ZFS_PROP_COMPRESSION:
		(void) dsl_dataset_set_compression(dataset, ZPROP_SRC_LOCAL, value);
		return (dsl_prop_set_int(dataset, name, ZPROP_SRC_LOCAL, value));
	case ZFS_PROP_FILESYSTEM_LIMIT:
	case ZFS_PROP_SNAPSHOT_LIMIT:
		if (dsl_dir_activate_fs_ss_limit(dataset) == ENOTSUP)
			return (ENOTSUP);
		return (dsl_prop_set_int(dataset, name, ZPROP_SRC_LOCAL, value));
	default:
		return (dsl_prop_set_int(dataset, name, ZPROP_SRC_LOCAL, value));
	}
}

/* Sets what can be set; names the others in `failed`. The first error is the answer. */
int
set_properties(const char *dataset, nvlist_t *properties, nvlist_t *failed)
{
	nvlist_t *texts = fnvlist_alloc();
	int first = 0;

	for (nvpair_t *pair = nvlist_next_nvpair(properties, NULL); pair != NULL;
	    pair = nvlist_next_nvpair(properties, pair)) {
		if (nvpair_type(pair) != DATA_TYPE_UINT64) {
			fnvlist_add_nvpair(texts, pair);
			continue;
		}
		int error = set_number(dataset, nvpair_name(pair), fnvpair_value_uint64(pair));
		if (error != 0) {
			fnvlist_add_uint64(failed, nvpair_name(pair), error);
			first = first != 0 ? first : error;
		}
	}
	if (!nvlist_empty(texts)) {
		int error = dsl_props_set(dataset, ZPROP_SRC_LOCAL, texts);
		if (error != 0) {
			for (nvpair_t *pair = nvlist_next_nvpair(texts, NULL); pair != NULL;
			    pair = nvlist_next_nvpair(texts, pair))
				fnvlist_add_uint64(failed, nvpair_name(pair), error);
			first = first != 0 ? first : error;
		}
	}
	nvlist_free(texts);
	return (first);
}

/* A new dataset has its properties or is not there. */
static int
set_or_destroy(request_t *request)
{
	char *name = text(request, "dataset");
	nvlist_t *failed = fnvlist_alloc();
	int error = set_properties(name, fnvlist_lookup_nvlist(request->in, "properties"), failed);

	if (error != 0)
		(void) dsl_destroy_head(name);
	nvlist_free(failed);
	return (error);
}

int
dataset_create(request_t *request)
{
	int error = dmu_objset_create(text(request, "dataset"), DMU_OST_ZFS, 0, NULL,
	    filesystem_create, NULL);

	return (error != 0 ? error : set_or_destroy(request));
}

int
dataset_clone(request_t *request)
{
	int error = dmu_objset_clone(text(request, "dataset"), text(request, "origin"));

	return (error != 0 ? error : set_or_destroy(request));
}

int
dataset_promote(request_t *request)
{
	char conflict[ZFS_MAX_DATASET_NAME_LEN] = "";
	int error = dsl_dataset_promote(text(request, "dataset"), conflict);

	fnvlist_add_string(request->out, "conflict", conflict);
	return (error);
}

int
dataset_rename(request_t *request)
{
	return (dsl_dir_rename(text(request, "dataset"), text(request, "to")));
}

int
dataset_destroy(request_t *request)
{
	return (dsl_destroy_head(text(request, "dataset")));
}

int
dataset_rollback(request_t *request)
{
	char *name = text(request, "dataset");

	return (dsl_dataset_rollback(name, text(request, "snapshot"), occupant_of(name),
	    request->out));
}

int
dataset_look_up(request_t *request)
{
	char *name = text(request, "object");
	dsl_pool_t *dp;
	dsl_dataset_t *ds;
	int error = dsl_pool_hold(name, FTAG, &dp);

	if (error != 0)
		return (error);
	error = dsl_dataset_hold(dp, name, FTAG, &ds);
	if (error == 0) {
		fnvlist_add_uint64(request->out, "guid", dsl_get_guid(ds));
		fnvlist_add_uint64(request->out, "occupied", occupied_by(ds) != NULL);
		dsl_dataset_rele(ds, FTAG);
	}
	dsl_pool_rele(dp, FTAG);
	return (error);
}

/* The calls on many objects: which failed, by name, beside the error of the call. */
static int
with_errors(request_t *request, int (*call)(nvlist_t *, nvlist_t *))
{
	nvlist_t *errors = fnvlist_alloc();
	int error = call(fnvlist_lookup_nvlist(request->in, "objects"), errors);

	fnvlist_add_nvlist(request->out, "errors", errors);
	nvlist_free(errors);
	return (error);
}

static int
destroy_now(nvlist_t *snapshots, nvlist_t *errors)
{
	return (dsl_destroy_snapshots_nvl(snapshots, B_FALSE, errors));
}

int
snapshots_destroy(request_t *request)
{
	return (with_errors(request, destroy_now));
}

/* What would be free without the snapshots from one to another, both of them included (zfs_ioc_space_snaps). */
int
snapshots_space(request_t *request)
{
	const char *first = text(request, "first"), *last = text(request, "last");
	dsl_pool_t *dp;
	dsl_dataset_t *from, *to;
	uint64_t used, compressed, uncompressed;
	int error = dsl_pool_hold(last, FTAG, &dp);

	if (error != 0)
		return (error);
	error = dsl_dataset_hold(dp, last, FTAG, &to);
	if (error == 0) {
		error = dsl_dataset_hold(dp, first, FTAG, &from);
		if (error == 0) {
			error = from->ds_is_snapshot && to->ds_is_snapshot ?
			    dsl_dataset_space_wouldfree(from, to, &used, &compressed, &uncompressed) :
			    EINVAL;
			if (error == 0)
				fnvlist_add_uint64(request->out, "bytes", used);
			dsl_dataset_rele(from, FTAG);
		}
		dsl_dataset_rele(to, FTAG);
	}
	dsl_pool_rele(dp, FTAG);
	return (error);
}

static int
hold_for_good(nvlist_t *holds, nvlist_t *errors)
{
	return (dsl_dataset_user_hold(holds, 0, errors));
}

int
snapshots_hold(request_t *request)
{
	return (with_errors(request, hold_for_good));
}

int
snapshots_release(request_t *request)
{
	return (with_errors(request, dsl_dataset_user_release));
}

int
bookmarks_create(request_t *request)
{
	return (with_errors(request, dsl_bookmark_create));
}

int
bookmarks_destroy(request_t *request)
{
	return (with_errors(request, dsl_bookmark_destroy));
}

/* A channel program, as lzc_channel_program runs it in the kernel. */
int
run_program(request_t *request)
{
	nvpair_t *arguments;
	int error = nvlist_lookup_nvpair(request->in, "arguments", &arguments);

	if (error != 0)
		return (error);
	nvlist_t *result = fnvlist_alloc();
	error = zcp_eval(text(request, "pool"), text(request, "program"), B_TRUE,
	    zfs_lua_max_instrlimit, zfs_lua_max_memlimit, arguments, result);
	fnvlist_add_nvlist(request->out, "result", result);
	nvlist_free(result);
	return (error);
}

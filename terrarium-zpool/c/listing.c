/* What is there: datasets, snapshots and bookmarks below a dataset. */
#include "engine.h"

#include <sys/dsl_bookmark.h>
#include <sys/dsl_crypt.h>
#include <sys/fs/zfs.h>
#include <zfs_prop.h>

/* Where things go while a listing is made. */
typedef struct lists {
	dsl_pool_t *dp;
	nvlist_t *datasets;
	nvlist_t *snapshots;
	nvlist_t *bookmarks;
} lists_t;

/* As `zfs get -Hp` prints it. */
static void
add_number(nvlist_t *to, const char *name, uint64_t value)
{
	zfs_prop_t property = zfs_name_to_prop(name);
	const char *word;
	char digits[32];

	if (property != ZPROP_INVAL && zfs_prop_get_type(property) == PROP_TYPE_INDEX &&
	    zfs_prop_index_to_string(property, value, &word) == 0) {
		fnvlist_add_string(to, name, word);
		return;
	}
	if ((property == ZFS_PROP_FILESYSTEM_LIMIT || property == ZFS_PROP_SNAPSHOT_LIMIT) &&
	    value == UINT64_MAX) {
		fnvlist_add_string(to, name, "none");
		return;
	}
	(void) snprintf(digits, sizeof (digits), "%llu", (u_longlong_t)value);
	fnvlist_add_string(to, name, digits);
}

/* Counters that lie beside the properties, and the size of a volume, which is data. */
static boolean_t
is_setting(const char *name)
{
	/* With a "$" come markers: received, inherited. */
	return (strchr(name, '$') == NULL && strcmp(name, "filesystem_count") != 0 &&
	    strcmp(name, "snapshot_count") != 0 && strcmp(name, "volsize") != 0);
}

/* The properties that are set on an object itself lie in a ZAP of its own. */
static nvlist_t *
local_properties(dsl_pool_t *dp, uint64_t zap)
{
	nvlist_t *local = fnvlist_alloc();
	objset_t *mos = dp->dp_meta_objset;
	zap_cursor_t cursor;
	zap_attribute_t entry;

	if (zap == 0)
		return (local);
	for (zap_cursor_init(&cursor, mos, zap); zap_cursor_retrieve(&cursor, &entry) == 0;
	    zap_cursor_advance(&cursor)) {
		if (!is_setting(entry.za_name))
			continue;
		if (entry.za_integer_length == 8) {
			add_number(local, entry.za_name, entry.za_first_integer);
			continue;
		}
		char *value = malloc(entry.za_num_integers);
		if (value != NULL && zap_lookup(mos, zap, entry.za_name, 1,
		    entry.za_num_integers, value) == 0)
			fnvlist_add_string(local, entry.za_name, value);
		free(value);
	}
	zap_cursor_fini(&cursor);
	return (local);
}

/* What datasets and snapshots have in common. */
static nvlist_t *
describe(dsl_dataset_t *ds)
{
	nvlist_t *it = fnvlist_alloc();
	uint64_t written = 0;

	fnvlist_add_uint64(it, "guid", dsl_get_guid(ds));
	fnvlist_add_uint64(it, "createtxg", dsl_get_creationtxg(ds));
	fnvlist_add_uint64(it, "creation", dsl_get_creation(ds));
	fnvlist_add_uint64(it, "used", dsl_get_used(ds));
	fnvlist_add_uint64(it, "referenced", dsl_get_referenced(ds));
	(void) dsl_get_written(ds, &written);
	fnvlist_add_uint64(it, "written", written);
	return (it);
}

/* A property of those that ZFS reports as a list with a value in it. */
static void
add_reported(nvlist_t *to, const char *as, nvlist_t *reported, zfs_prop_t property)
{
	nvlist_t *of;
	char *value;

	if (nvlist_lookup_nvlist(reported, zfs_prop_to_name(property), &of) == 0 &&
	    nvlist_lookup_string(of, ZPROP_VALUE, &value) == 0)
		fnvlist_add_string(to, as, value);
}

static void
add_resume_token(nvlist_t *to, dsl_dataset_t *ds)
{
	char *token = get_receive_resume_stats_impl(ds);

	if (token[0] == '\0') {
		kmem_strfree(token);
		token = get_child_receive_stats(ds);
	}
	if (token[0] != '\0')
		fnvlist_add_string(to, "resume_token", token);
	kmem_strfree(token);
}

static int
add_dataset(lists_t *lists, const char *name, dsl_dataset_t *ds)
{
	objset_t *os;
	int error = dmu_objset_from_ds(ds, &os);

	if (error != 0)
		return (error);
	nvlist_t *it = describe(ds), *reported = fnvlist_alloc();
	fnvlist_add_uint64(it, "volume", dmu_objset_type(os) == DMU_OST_ZVOL);
	fnvlist_add_uint64(it, "available", dsl_get_available(ds));
	fnvlist_add_uint64(it, "occupied", occupied_by(ds) != NULL);
	dsl_dataset_stats(ds, reported);
	dsl_dataset_crypt_stats(ds, reported);
	add_reported(it, "origin", reported, ZFS_PROP_ORIGIN);
	add_reported(it, "encryption_root", reported, ZFS_PROP_ENCRYPTION_ROOT);
	add_resume_token(it, ds);
	nvlist_t *local = local_properties(lists->dp, dsl_dir_phys(ds->ds_dir)->dd_props_zapobj);
	fnvlist_add_nvlist(it, "local", local);
	fnvlist_add_nvlist(lists->datasets, name, it);
	nvlist_free(local);
	nvlist_free(reported);
	nvlist_free(it);
	return (0);
}

static void
add_snapshot(lists_t *lists, const char *name, dsl_dataset_t *ds)
{
	nvlist_t *it = describe(ds), *clones = fnvlist_alloc();

	fnvlist_add_uint64(it, "userrefs", dsl_get_userrefs(ds));
	(void) get_clones_stat_impl(ds, clones);
	fnvlist_add_nvlist(it, "clones", clones);
	nvlist_t *local = local_properties(lists->dp, dsl_dataset_phys(ds)->ds_props_obj);
	fnvlist_add_nvlist(it, "local", local);
	fnvlist_add_nvlist(lists->snapshots, name, it);
	nvlist_free(local);
	nvlist_free(clones);
	nvlist_free(it);
}

static int
add_snapshots(lists_t *lists, const char *name, dsl_dataset_t *ds)
{
	objset_t *mos = lists->dp->dp_meta_objset;
	uint64_t zap = dsl_dataset_phys(ds)->ds_snapnames_zapobj;
	char full[ZFS_MAX_DATASET_NAME_LEN];
	zap_cursor_t cursor;
	zap_attribute_t entry;
	int error = 0;

	if (zap == 0)
		return (0);
	for (zap_cursor_init(&cursor, mos, zap);
	    error == 0 && zap_cursor_retrieve(&cursor, &entry) == 0;
	    zap_cursor_advance(&cursor)) {
		dsl_dataset_t *snapshot;
		/* Those with a "%" are ZFS's own, for the moment of a receive. */
		if (strchr(entry.za_name, '%') != NULL)
			continue;
		error = dsl_dataset_hold_obj(lists->dp, entry.za_first_integer, FTAG, &snapshot);
		if (error != 0)
			break;
		(void) snprintf(full, sizeof (full), "%s@%s", name, entry.za_name);
		add_snapshot(lists, full, snapshot);
		dsl_dataset_rele(snapshot, FTAG);
	}
	zap_cursor_fini(&cursor);
	return (error);
}

static int
add_bookmarks(lists_t *lists, const char *name, dsl_dataset_t *ds)
{
	static const char *wanted[] = { "guid", "createtxg", "creation" };
	nvlist_t *properties = fnvlist_alloc(), *found = fnvlist_alloc();
	char full[ZFS_MAX_DATASET_NAME_LEN];

	for (int i = 0; i < 3; i++)
		fnvlist_add_boolean(properties, wanted[i]);
	int error = dsl_get_bookmarks_impl(ds, properties, found);
	for (nvpair_t *pair = nvlist_next_nvpair(found, NULL); error == 0 && pair != NULL;
	    pair = nvlist_next_nvpair(found, pair)) {
		nvlist_t *of = fnvpair_value_nvlist(pair), *it = fnvlist_alloc();
		for (int i = 0; i < 3; i++) {
			nvlist_t *property = fnvlist_lookup_nvlist(of, wanted[i]);
			fnvlist_add_uint64(it, wanted[i],
			    fnvlist_lookup_uint64(property, ZPROP_VALUE));
		}
		(void) snprintf(full, sizeof (full), "%s#%s", name, nvpair_name(pair));
		fnvlist_add_nvlist(lists->bookmarks, full, it);
		nvlist_free(it);
	}
	nvlist_free(found);
	nvlist_free(properties);
	return (error);
}

/* Names ZFS gives to datasets of its own. */
static boolean_t
is_hidden(const char *name)
{
	return (strchr(name, '$') != NULL || strchr(name, '%') != NULL);
}

static int
add_all(lists_t *lists, const char *name)
{
	char child[ZFS_MAX_DATASET_NAME_LEN];
	zap_cursor_t cursor;
	zap_attribute_t entry;
	dsl_dataset_t *ds;
	int error = dsl_dataset_hold(lists->dp, name, FTAG, &ds);

	if (error != 0)
		return (error);
	error = add_dataset(lists, name, ds);
	if (error == 0)
		error = add_snapshots(lists, name, ds);
	if (error == 0)
		error = add_bookmarks(lists, name, ds);
	uint64_t children = dsl_dir_phys(ds->ds_dir)->dd_child_dir_zapobj;
	for (zap_cursor_init(&cursor, lists->dp->dp_meta_objset, children);
	    error == 0 && zap_cursor_retrieve(&cursor, &entry) == 0;
	    zap_cursor_advance(&cursor)) {
		if (is_hidden(entry.za_name))
			continue;
		(void) snprintf(child, sizeof (child), "%s/%s", name, entry.za_name);
		error = add_all(lists, child);
	}
	zap_cursor_fini(&cursor);
	dsl_dataset_rele(ds, FTAG);
	return (error);
}

/* All under one lock of the pool's configuration: nothing changes in between. */
int
list(request_t *request)
{
	char *root = fnvlist_lookup_string(request->in, "dataset");
	lists_t lists = { .dp = NULL };
	int error = dsl_pool_hold(root, FTAG, &lists.dp);

	if (error != 0)
		return (error);
	lists.datasets = fnvlist_alloc();
	lists.snapshots = fnvlist_alloc();
	lists.bookmarks = fnvlist_alloc();
	error = add_all(&lists, root);
	dsl_pool_rele(lists.dp, FTAG);
	fnvlist_add_nvlist(request->out, "datasets", lists.datasets);
	fnvlist_add_nvlist(request->out, "snapshots", lists.snapshots);
	fnvlist_add_nvlist(request->out, "bookmarks", lists.bookmarks);
	nvlist_free(lists.datasets);
	nvlist_free(lists.snapshots);
	nvlist_free(lists.bookmarks);
	return (error);
}

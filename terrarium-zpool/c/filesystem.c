/*
 * The file system inside a dataset: a master node that names the root directory, directories that
 * are ZAPs, and system attributes (SA) with every file's mode, size, owner and times.
 *
 * libzpool has the attributes' framework and their table, but not the code that lays out a file
 * system; this follows sys/zfs_znode.h, sys/zfs_sa.h and what a kernel's file system looks like.
 */
#include "tree.h"

#include <sys/sa.h>
#include <sys/stat.h>
#include <sys/zfs_acl.h>
#include <sys/zfs_sa.h>
#include <sys/zfs_znode.h>
#include <time.h>

#define	BONUS	DN_OLD_MAX_BONUSLEN

void
now(uint64_t when[2])
{
	struct timespec t;

	(void) clock_gettime(CLOCK_REALTIME, &t);
	when[0] = t.tv_sec;
	when[1] = t.tv_nsec;
}

/* One entry each for owner, group and everyone that says what the mode says. */
static uint32_t
allowed(unsigned bits, boolean_t owner)
{
	uint32_t mask = ACE_READ_ACL | ACE_READ_ATTRIBUTES | ACE_READ_NAMED_ATTRS | ACE_SYNCHRONIZE;

	if (owner)
		mask |= ACE_WRITE_ACL | ACE_WRITE_OWNER | ACE_WRITE_ATTRIBUTES | ACE_WRITE_NAMED_ATTRS;
	if (bits & 4)
		mask |= ACE_READ_DATA;
	if (bits & 2)
		mask |= ACE_WRITE_DATA | ACE_APPEND_DATA;
	if (bits & 1)
		mask |= ACE_EXECUTE;
	return (mask);
}

/* What the attributes of an object take, for dmu_tx_hold_sa_create. */
int
attributes_size(const new_file_t *file)
{
	return (DN_OLD_MAX_BONUSLEN + file->target_length + file->packed_length);
}

/* All attributes of a new object; of an old one (`is_new` unset) only those that an entry tells. */
int
attributes_write(filesystem_t *fs, uint64_t object, const new_file_t *file, boolean_t is_new,
    dmu_tx_t *tx)
{
	sa_attr_type_t *at = fs->attributes;
	tree_entry_t entry = file->entry;
	uint64_t parent = file->parent, generation = dmu_tx_get_txg(tx), aces = 3;
	uint64_t flags = ZFS_ACL_TRIVIAL | ZFS_ACL_AUTO_INHERIT;
	uint64_t created[2];
	zfs_ace_hdr_t acl[3] = {
		{ 0, ACE_OWNER, allowed(entry.mode >> 6, B_TRUE) },
		{ 0, ACE_GROUP | ACE_IDENTIFIER_GROUP, allowed(entry.mode >> 3, B_FALSE) },
		{ 0, ACE_EVERYONE, allowed(entry.mode, B_FALSE) },
	};
	sa_bulk_attr_t all[20];
	sa_handle_t *handle;
	int n = 0;

	now(created);
	if ((entry.mode & 0111) == 0111)
		flags |= ZFS_NO_EXECS_DENIED;
	SA_ADD_BULK_ATTR(all, n, at[ZPL_MODE], NULL, &entry.mode, 8);
	if (is_new) {
		SA_ADD_BULK_ATTR(all, n, at[ZPL_SIZE], NULL, &entry.size, 8);
		SA_ADD_BULK_ATTR(all, n, at[ZPL_GEN], NULL, &generation, 8);
	}
	SA_ADD_BULK_ATTR(all, n, at[ZPL_UID], NULL, &entry.uid, 8);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_GID], NULL, &entry.gid, 8);
	if (is_new)
		SA_ADD_BULK_ATTR(all, n, at[ZPL_PARENT], NULL, &parent, 8);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_FLAGS], NULL, &flags, 8);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_ATIME], NULL, entry.accessed, 16);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_MTIME], NULL, entry.modified, 16);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_CTIME], NULL, entry.changed, 16);
	if (is_new) {
		SA_ADD_BULK_ATTR(all, n, at[ZPL_CRTIME], NULL, created, 16);
		SA_ADD_BULK_ATTR(all, n, at[ZPL_LINKS], NULL, &entry.links, 8);
	}
	if (S_ISCHR(entry.mode) || S_ISBLK(entry.mode))
		SA_ADD_BULK_ATTR(all, n, at[ZPL_RDEV], NULL, &entry.device, 8);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_DACL_COUNT], NULL, &aces, 8);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_DACL_ACES], NULL, acl, sizeof (acl));
	if (file->target_length > 0)
		SA_ADD_BULK_ATTR(all, n, at[ZPL_SYMLINK], NULL, file->target, file->target_length);
	if (file->packed_length > 0)
		SA_ADD_BULK_ATTR(all, n, at[ZPL_DXATTR], NULL, file->packed, file->packed_length);
	int error = sa_handle_get(fs->os, object, NULL, SA_HDL_PRIVATE, &handle);
	if (error != 0)
		return (error);
	error = is_new ? sa_replace_all_by_template(handle, all, n, tx) :
	    sa_bulk_update(handle, all, n, tx);
	sa_handle_destroy(handle);
	return (error);
}

static void
add(objset_t *os, const char *name, uint64_t value, dmu_tx_t *tx)
{
	VERIFY0(zap_update(os, MASTER_NODE_OBJ, name, 8, 1, &value, tx));
}

/* Called by ZFS while a dataset comes into being. */
void
filesystem_create(objset_t *os, void *arg, cred_t *cr, dmu_tx_t *tx)
{
	filesystem_t fs = { .os = os };
	new_file_t root = { .entry = { .mode = S_IFDIR | 0755, .size = 2, .links = 2 } };

	(void) arg, (void) cr;
	VERIFY0(zap_create_claim(os, MASTER_NODE_OBJ, DMU_OT_MASTER_NODE, DMU_OT_NONE, 0, tx));
	add(os, ZPL_VERSION_STR, ZPL_VERSION, tx);
	add(os, "utf8only", 0, tx);
	add(os, "normalization", 0, tx);
	add(os, "casesensitivity", 0, tx);
	uint64_t attributes = zap_create(os, DMU_OT_SA_MASTER_NODE, DMU_OT_NONE, 0, tx);
	add(os, ZFS_SA_ATTRS, attributes, tx);
	add(os, ZFS_UNLINKED_SET, zap_create(os, DMU_OT_UNLINKED_SET, DMU_OT_NONE, 0, tx), tx);
	fs.root = zap_create(os, DMU_OT_DIRECTORY_CONTENTS, DMU_OT_SA, BONUS, tx);
	add(os, ZFS_ROOT_OBJ, fs.root, tx);
	VERIFY0(sa_setup(os, attributes, zfs_attr_table, ZPL_END, &fs.attributes));
	root.parent = fs.root;
	now(root.entry.accessed);
	now(root.entry.modified);
	now(root.entry.changed);
	VERIFY0(attributes_write(&fs, fs.root, &root, B_TRUE, tx));
}

/* The kernel makes one in a new pool's root dataset, libzpool does not. */
int
filesystem_create_in_root(const char *pool)
{
	objset_t *os;
	int error = dmu_objset_own(pool, DMU_OST_ZFS, B_FALSE, B_TRUE, FTAG, &os);

	if (error != 0)
		return (error);
	dmu_tx_t *tx = dmu_tx_create(os);
	for (int i = 0; i < 4; i++)
		dmu_tx_hold_zap(tx, DMU_NEW_OBJECT, B_TRUE, NULL);
	/* Registering and laying out the attributes makes ZAPs of their own. */
	for (int i = 0; i < 2; i++)
		dmu_tx_hold_zap(tx, DMU_NEW_OBJECT, B_TRUE, NULL);
	dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
	error = dmu_tx_assign(tx, TXG_WAIT);
	if (error == 0) {
		filesystem_create(os, NULL, NULL, tx);
		dmu_tx_commit(tx);
		txg_wait_synced(dmu_objset_pool(os), 0);
	} else {
		dmu_tx_abort(tx);
	}
	dmu_objset_disown(os, B_TRUE, FTAG);
	return (error);
}

int
filesystem_of(objset_t *os, filesystem_t *fs)
{
	uint64_t attributes;

	fs->os = os;
	if (dmu_objset_type(os) != DMU_OST_ZFS ||
	    zap_lookup(os, MASTER_NODE_OBJ, ZFS_SA_ATTRS, 8, 1, &attributes) != 0 ||
	    zap_lookup(os, MASTER_NODE_OBJ, ZFS_ROOT_OBJ, 8, 1, &fs->root) != 0)
		return (REFUSE_NO_FILESYSTEM);
	/* What was left out of it would be read as zeros; the kernel does not mount it either. */
	if (dsl_dataset_feature_is_active(dmu_objset_ds(os), SPA_FEATURE_REDACTED_DATASETS))
		return (REFUSE_NO_FILESYSTEM);
	return (sa_setup(os, attributes, zfs_attr_table, ZPL_END, &fs->attributes));
}

/* Symbolic links are not followed. */
int
path_lookup(filesystem_t *fs, uint64_t from, const char *path, uint64_t *object)
{
	char name[ZAP_MAXNAMELEN];
	uint64_t entry;

	*object = from;
	while (*path != '\0') {
		size_t length = strcspn(path, "/");
		if (length >= sizeof (name))
			return (ENAMETOOLONG);
		if (length > 0) {
			dmu_object_info_t info;
			(void) memcpy(name, path, length);
			name[length] = '\0';
			int error = dmu_object_info(fs->os, *object, &info);
			if (error == 0 && info.doi_type != DMU_OT_DIRECTORY_CONTENTS)
				error = ENOTDIR;
			if (error == 0)
				error = zap_lookup(fs->os, *object, name, 8, 1, &entry);
			if (error != 0)
				return (error);
			*object = ZFS_DIRENT_OBJ(entry);
		}
		path += length;
		path += *path == '/';
	}
	return (0);
}

/* Without the slashes that say nothing; `to` has room for TREE_MAX_PATH bytes. */
int
path_clean(const uint8_t *from, size_t length, char *to)
{
	size_t used = 0;

	for (size_t i = 0; i < length; i++) {
		if (from[i] == '\0')
			return (EINVAL);
		if (from[i] == '/' && (used == 0 || to[used - 1] == '/'))
			continue;
		if (used + 2 > TREE_MAX_PATH)
			return (ENAMETOOLONG);
		to[used++] = from[i];
	}
	used -= used > 0 && to[used - 1] == '/';
	to[used] = '\0';
	return (0);
}

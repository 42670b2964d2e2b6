/*
 * Walks a tree: parents before children, the names of a directory in the order of their bytes.
 *
 * Whatever a received stream made of the tree, the walk comes to an end: a directory is entered from
 * its parent only.
 */
#include "tree.h"

#include <fcntl.h>
#include <sys/sa.h>
#include <sys/stat.h>
#include <sys/zfs_acl.h>
#include <sys/zfs_sa.h>
#include <sys/zfs_znode.h>

/* What XATTR_SIZE_MAX allows a value in a directory of attributes to be. */
#define	MAX_ATTRIBUTE	(64U << 10)

typedef struct name {
	uint64_t object;
	char *text;
} name_t;

/* Who holds a dataset while it is walked; only the address matters. */
static char holder;

/* A directory that is being walked. */
typedef struct level {
	uint64_t object;
	/* The length of its path, with the slash. */
	size_t path_length;
	name_t *names;
	size_t count;
	size_t next;
} level_t;

typedef struct walk {
	filesystem_t fs;
	frames_t frames;
	boolean_t content;
	boolean_t is_snapshot;
	char path[TREE_MAX_PATH];
	level_t *levels;
	size_t depth;
	uint64_t entries;
} walk_t;

static void
put_damage(walk_t *walk, int error)
{
	uint64_t number = error;

	frame_put(&walk->frames, FRAME_DAMAGE, &number, sizeof (number), NULL, 0);
}

static int
look_up(filesystem_t *fs, sa_handle_t *handle, tree_entry_t *entry, uint64_t *parent)
{
	sa_attr_type_t *at = fs->attributes;
	sa_bulk_attr_t all[16];
	int n = 0;

	SA_ADD_BULK_ATTR(all, n, at[ZPL_MODE], NULL, &entry->mode, 8);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_SIZE], NULL, &entry->size, 8);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_UID], NULL, &entry->uid, 8);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_GID], NULL, &entry->gid, 8);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_PARENT], NULL, parent, 8);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_LINKS], NULL, &entry->links, 8);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_ATIME], NULL, entry->accessed, 16);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_MTIME], NULL, entry->modified, 16);
	SA_ADD_BULK_ATTR(all, n, at[ZPL_CTIME], NULL, entry->changed, 16);
	int error = sa_bulk_lookup(handle, all, n);
	if (error == 0 && (S_ISBLK(entry->mode) || S_ISCHR(entry->mode)))
		error = sa_lookup(handle, at[ZPL_RDEV], &entry->device, 8);
	return (error);
}

/* An attribute of variable length; ENOENT if there is none. */
static int
look_up_bytes(sa_handle_t *handle, sa_attr_type_t attribute, uint8_t **bytes, int *length)
{
	int error = sa_size(handle, attribute, length);

	if (error != 0)
		return (error);
	*bytes = malloc(MAX(*length, 1));
	if (*bytes == NULL)
		return (ENOMEM);
	error = sa_lookup(handle, attribute, *bytes, *length);
	if (error != 0)
		free(*bytes);
	return (error);
}

static int
put_target(walk_t *walk, sa_handle_t *handle)
{
	uint8_t *target;
	int length;
	int error = look_up_bytes(handle, walk->fs.attributes[ZPL_SYMLINK], &target, &length);

	if (error == 0) {
		frame_put(&walk->frames, FRAME_TARGET, target, length, NULL, 0);
		free(target);
	}
	return (error);
}

static void
put_attribute(walk_t *walk, const char *name, const void *value, size_t length)
{
	uint32_t name_length = strlen(name);
	uint8_t *at = frame_reserve(&walk->frames, sizeof (name_length) + name_length + length);

	(void) memcpy(at, &name_length, sizeof (name_length));
	(void) memcpy(at + sizeof (name_length), name, name_length);
	(void) memcpy(at + sizeof (name_length) + name_length, value, length);
	frame_commit(&walk->frames, FRAME_ATTRIBUTE, sizeof (name_length) + name_length + length);
}

/* Those that lie with the file (`xattr=sa`): a packed list. */
static int
put_near_attributes(walk_t *walk, sa_handle_t *handle)
{
	uint8_t *packed;
	int length;
	nvlist_t *list;
	int error = look_up_bytes(handle, walk->fs.attributes[ZPL_DXATTR], &packed, &length);

	if (error != 0)
		return (error == ENOENT ? 0 : error);
	error = nvlist_unpack((char *)packed, length, &list, 0);
	free(packed);
	if (error != 0)
		return (error);
	for (nvpair_t *pair = nvlist_next_nvpair(list, NULL); pair != NULL && error == 0;
	    pair = nvlist_next_nvpair(list, pair)) {
		uchar_t *value;
		uint_t size;
		error = nvpair_value_byte_array(pair, &value, &size);
		if (error == 0 && size > MAX_ATTRIBUTE)
			error = EFBIG;
		if (error == 0)
			put_attribute(walk, nvpair_name(pair), value, size);
	}
	nvlist_free(list);
	return (error);
}

static int
put_far_attribute(walk_t *walk, const char *name, uint64_t object)
{
	tree_entry_t file = { 0 };
	uint64_t parent;
	sa_handle_t *handle;
	int error = sa_handle_get(walk->fs.os, object, NULL, SA_HDL_PRIVATE, &handle);

	if (error != 0)
		return (error);
	error = look_up(&walk->fs, handle, &file, &parent);
	sa_handle_destroy(handle);
	if (error == 0 && (!S_ISREG(file.mode) || file.size > MAX_ATTRIBUTE))
		error = EFBIG;
	if (error != 0)
		return (error);
	uint8_t *value = malloc(MAX(file.size, 1));
	if (value == NULL)
		return (ENOMEM);
	error = dmu_read(walk->fs.os, object, 0, file.size, value, DMU_READ_PREFETCH);
	if (error == 0)
		put_attribute(walk, name, value, file.size);
	free(value);
	return (error);
}

/* Those that are files in a directory of their own (`xattr=on`). */
static int
put_far_attributes(walk_t *walk, sa_handle_t *handle)
{
	uint64_t directory;
	zap_cursor_t cursor;
	zap_attribute_t found;
	int error = sa_lookup(handle, walk->fs.attributes[ZPL_XATTR], &directory,
	    sizeof (directory));

	if (error != 0 || directory == 0)
		return (error == ENOENT ? 0 : error);
	zap_cursor_init(&cursor, walk->fs.os, directory);
	while ((error = zap_cursor_retrieve(&cursor, &found)) == 0) {
		error = put_far_attribute(walk, found.za_name,
		    ZFS_DIRENT_OBJ(found.za_first_integer));
		if (error != 0)
			break;
		zap_cursor_advance(&cursor);
	}
	zap_cursor_fini(&cursor);
	return (error == ENOENT ? 0 : error);
}

static int
put_extent(walk_t *walk, uint64_t object, uint64_t from, uint64_t to)
{
	while (from < to && walk->frames.error == 0) {
		uint64_t length = MIN(to - from, TREE_PIECE);
		uint8_t *at = frame_reserve(&walk->frames, sizeof (from) + length);
		(void) memcpy(at, &from, sizeof (from));
		int error = dmu_read(walk->fs.os, object, from, length, at + sizeof (from),
		    DMU_READ_PREFETCH);
		if (error != 0)
			return (error);
		frame_commit(&walk->frames, FRAME_CONTENT, sizeof (from) + length);
		from += length;
	}
	return (0);
}

/* Holes are left out, of snapshots: where a head's are is not known while it is written. */
static int
put_content(walk_t *walk, uint64_t object, uint64_t size)
{
	uint64_t from = 0;
	int error = 0;

	if (!walk->is_snapshot || size <= SPA_OLD_MAXBLOCKSIZE)
		return (put_extent(walk, object, 0, size));
	while (error == 0 && from < size && walk->frames.error == 0) {
		error = dmu_offset_next(walk->fs.os, object, B_FALSE, &from);
		if (error != 0 || from >= size)
			break;
		uint64_t to = from;
		error = dmu_offset_next(walk->fs.os, object, B_TRUE, &to);
		if (error == ESRCH) {
			to = size;
			error = 0;
		}
		if (error == 0)
			error = put_extent(walk, object, from, MIN(to, size));
		from = to;
	}
	return (error == ESRCH ? 0 : error);
}

/* Tells one entry with all that belongs to it. */
static int
put_entry(walk_t *walk, uint64_t object, uint64_t from, boolean_t *is_directory)
{
	tree_entry_t entry = { .object = object };
	size_t path_length = strlen(walk->path);
	uint64_t parent = 0;
	sa_handle_t *handle;
	int error = sa_handle_get(walk->fs.os, object, NULL, SA_HDL_PRIVATE, &handle);

	*is_directory = B_FALSE;
	if (error == 0)
		error = look_up(&walk->fs, handle, &entry, &parent);
	else
		handle = NULL;
	/* A name that leads to what cannot be read is told all the same. */
	frame_put(&walk->frames, FRAME_ENTRY, &entry, sizeof (entry), walk->path, path_length);
	walk->entries++;
	if (error == 0 && S_ISLNK(entry.mode))
		error = put_target(walk, handle);
	if (error == 0)
		error = put_near_attributes(walk, handle);
	if (error == 0)
		error = put_far_attributes(walk, handle);
	/* Kept any longer it would keep the pool from being closed after an error. */
	if (handle != NULL)
		sa_handle_destroy(handle);
	if (error == 0 && S_ISREG(entry.mode) && walk->content)
		error = put_content(walk, object, entry.size);
	if (error == 0 && S_ISDIR(entry.mode)) {
		if (from != 0 && parent != from)
			error = EINVAL;
		else
			*is_directory = B_TRUE;
	}
	return (error);
}

static int
by_bytes(const void *a, const void *b)
{
	return (strcmp(((const name_t *)a)->text, ((const name_t *)b)->text));
}

static void
free_names(level_t *level)
{
	for (size_t i = 0; i < level->count; i++)
		free(level->names[i].text);
	free(level->names);
}

static int
add_name(level_t *level, zap_attribute_t *found)
{
	if (found->za_name[0] == '\0' || strcmp(found->za_name, ".") == 0 ||
	    strcmp(found->za_name, "..") == 0 || strchr(found->za_name, '/') != NULL)
		return (EINVAL);
	/* It grows at every power of two. */
	if ((level->count & (level->count - 1)) == 0) {
		size_t room = MAX(level->count * 2, 1);
		name_t *names = realloc(level->names, room * sizeof (*names));
		if (names == NULL)
			return (ENOMEM);
		level->names = names;
	}
	name_t name = { ZFS_DIRENT_OBJ(found->za_first_integer), strdup(found->za_name) };
	if (name.text == NULL)
		return (ENOMEM);
	level->names[level->count++] = name;
	return (0);
}

/* Reads a directory's names, so that they can be visited in order. */
static int
enter(walk_t *walk, uint64_t object)
{
	size_t length = strlen(walk->path);
	level_t level = { .object = object, .path_length = length + (length > 0) };
	zap_cursor_t cursor;
	zap_attribute_t found;
	int error;

	zap_cursor_init(&cursor, walk->fs.os, object);
	while ((error = zap_cursor_retrieve(&cursor, &found)) == 0) {
		error = add_name(&level, &found);
		if (error != 0)
			break;
		dmu_prefetch(walk->fs.os, ZFS_DIRENT_OBJ(found.za_first_integer), 0, 0, 0,
		    ZIO_PRIORITY_ASYNC_READ);
		zap_cursor_advance(&cursor);
	}
	zap_cursor_fini(&cursor);
	level_t *levels = realloc(walk->levels, (walk->depth + 1) * sizeof (*levels));
	if (levels != NULL)
		walk->levels = levels;
	if (error == ENOENT)
		error = levels == NULL ? ENOMEM : 0;
	if (error != 0) {
		free_names(&level);
		return (error);
	}
	qsort(level.names, level.count, sizeof (level.names[0]), by_bytes);
	if (length > 0)
		(void) memcpy(walk->path + length, "/", 2);
	walk->levels[walk->depth++] = level;
	return (0);
}

/* One entry, and if it is a directory it is entered. */
static void
visit(walk_t *walk, uint64_t object, uint64_t from, boolean_t alone)
{
	boolean_t is_directory;
	int error = put_entry(walk, object, from, &is_directory);

	if (error == 0 && is_directory && !alone)
		error = enter(walk, object);
	if (error != 0)
		put_damage(walk, error);
}

static void
walk_from(walk_t *walk, uint64_t object, boolean_t alone)
{
	visit(walk, object, 0, alone);
	while (walk->depth > 0 && walk->frames.error == 0) {
		level_t *level = &walk->levels[walk->depth - 1];
		if (level->next == level->count) {
			free_names(level);
			walk->depth--;
			continue;
		}
		name_t *name = &level->names[level->next++];
		size_t length = strlen(name->text);
		if (level->path_length + length + 2 > sizeof (walk->path)) {
			walk->frames.error = ENAMETOOLONG;
			break;
		}
		(void) memcpy(walk->path + level->path_length, name->text, length + 1);
		visit(walk, name->object, level->object, B_FALSE);
	}
	while (walk->depth > 0)
		free_names(&walk->levels[--walk->depth]);
	free(walk->levels);
}

/* A path that leads nowhere is a tree without entries. */
static int
walk_objset(request_t *request, walk_t *walk, objset_t *os)
{
	uchar_t *path = NULL;
	uint_t length = 0;
	uint64_t object;
	int error = filesystem_of(os, &walk->fs);

	(void) nvlist_lookup_byte_array(request->in, "path", &path, &length);
	walk->is_snapshot = dmu_objset_is_snapshot(os);
	walk->content = nvlist_exists(request->in, "content");
	if (error == 0)
		error = path_clean(path, length, walk->path);
	if (error == 0) {
		error = path_lookup(&walk->fs, walk->fs.root, walk->path, &object);
		if (error == 0)
			walk_from(walk, object, nvlist_exists(request->in, "alone"));
		else if (error == ENOENT || error == ENOTDIR)
			error = 0;
	}
	if (error == 0) {
		frame_put(&walk->frames, FRAME_END, &walk->entries, sizeof (walk->entries), NULL, 0);
		frames_flush(&walk->frames);
	}
	return (error != 0 ? error : walk->frames.error);
}

/* Held so that others can go on: a hold of the pool would keep it from writing. */
static int
hold_long(const char *name, dsl_dataset_t **ds, objset_t **os)
{
	dsl_pool_t *dp;
	int error = dsl_pool_hold(name, FTAG, &dp);

	if (error != 0)
		return (error);
	error = dsl_dataset_hold_flags(dp, name, DS_HOLD_FLAG_DECRYPT, &holder, ds);
	if (error == 0) {
		error = dmu_objset_from_ds(*ds, os);
		if (error == 0)
			dsl_dataset_long_hold(*ds, &holder);
		else
			dsl_dataset_rele_flags(*ds, DS_HOLD_FLAG_DECRYPT, &holder);
	}
	dsl_pool_rele(dp, FTAG);
	return (error);
}

int
tree_walk(request_t *request)
{
	walk_t *walk = calloc(1, sizeof (*walk));
	dsl_dataset_t *ds;
	objset_t *os;

	if (walk == NULL)
		return (ENOMEM);
	int error = frames_open(&walk->frames, request);
	if (error == 0)
		error = hold_long(fnvlist_lookup_string(request->in, "object"), &ds, &os);
	if (error == 0) {
		error = walk_objset(request, walk, os);
		dsl_dataset_long_rele(ds, &holder);
		dsl_dataset_rele_flags(ds, DS_HOLD_FLAG_DECRYPT, &holder);
	}
	frames_close(&walk->frames);
	free(walk);
	return (error);
}

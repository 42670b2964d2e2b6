/*
 * Writes a tree into a dataset: each entry whole before its name leads to it, and all on disk before
 * the answer.
 */
#include "tree.h"

#include <sys/sa.h>
#include <sys/stat.h>
#include <sys/zfs_acl.h>
#include <sys/zfs_sa.h>
#include <sys/zfs_znode.h>

/* The entry that is being written: its frames come one after another. */
typedef struct pending {
	boolean_t there;
	new_file_t file;
	/* Of a regular file, whose content is written as it comes; otherwise 0. */
	uint64_t object;
	/* What stood at that name, to be replaced; otherwise 0. */
	uint64_t old;
	nvlist_t *attributes;
	/* The last part of `path`. */
	const char *name;
	char path[TREE_MAX_PATH];
} pending_t;

typedef struct writing {
	filesystem_t fs;
	uint64_t record_size;
	pending_t pending;
} writing_t;

static int
check_name(const char *name)
{
	if (name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return (EINVAL);
	return (strlen(name) >= ZAP_MAXNAMELEN ? ENAMETOOLONG : 0);
}

/* The directory that the last part of a path is in, and that part. */
static int
find_place(filesystem_t *fs, char *path, uint64_t *directory, const char **name)
{
	char *slash = strrchr(path, '/');
	dmu_object_info_t info;
	int error = 0;

	*name = slash == NULL ? path : slash + 1;
	*directory = fs->root;
	if (slash != NULL) {
		*slash = '\0';
		error = path_lookup(fs, fs->root, path, directory);
		*slash = '/';
	}
	if (error == 0)
		error = dmu_object_info(fs->os, *directory, &info);
	if (error == 0 && info.doi_type != DMU_OT_DIRECTORY_CONTENTS)
		error = ENOTDIR;
	return (error != 0 ? error : check_name(*name));
}

static int
assign(dmu_tx_t *tx)
{
	int error = dmu_tx_assign(tx, TXG_WAIT);

	if (error != 0)
		dmu_tx_abort(tx);
	return (error);
}

/* A file of one block has a block as large as it is, a larger one has blocks of the record size. */
static int
allocate(writing_t *writing, uint64_t size, uint64_t *object)
{
	uint64_t record = writing->record_size;
	uint64_t block = size >= record ? record :
	    MAX(P2ROUNDUP(size, SPA_MINBLOCKSIZE), SPA_MINBLOCKSIZE);
	dmu_tx_t *tx = dmu_tx_create(writing->fs.os);

	dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
	int error = assign(tx);
	if (error == 0) {
		*object = dmu_object_alloc(writing->fs.os, DMU_OT_PLAIN_FILE_CONTENTS, block,
		    DMU_OT_SA, DN_OLD_MAX_BONUSLEN, tx);
		dmu_tx_commit(tx);
	}
	return (error);
}

static int
write_content(writing_t *writing, const uint8_t *bytes, size_t length)
{
	pending_t *pending = &writing->pending;
	uint64_t offset;

	if (pending->object == 0 || length <= sizeof (offset))
		return (EINVAL);
	(void) memcpy(&offset, bytes, sizeof (offset));
	length -= sizeof (offset);
	if (offset > pending->file.entry.size || length > pending->file.entry.size - offset)
		return (EINVAL);
	dmu_tx_t *tx = dmu_tx_create(writing->fs.os);
	dmu_tx_hold_write(tx, pending->object, offset, length);
	int error = assign(tx);
	if (error == 0) {
		dmu_write(writing->fs.os, pending->object, offset, length,
		    bytes + sizeof (offset), tx);
		dmu_tx_commit(tx);
	}
	return (error);
}

/* A directory's size is the number of its entries, and two. Its times stay what its own entry says. */
static int
count_entry(filesystem_t *fs, sa_handle_t *directory, int subdirectories, dmu_tx_t *tx)
{
	uint64_t size, links;
	int error = sa_lookup(directory, fs->attributes[ZPL_SIZE], &size, sizeof (size));

	if (error == 0)
		error = sa_lookup(directory, fs->attributes[ZPL_LINKS], &links, sizeof (links));
	if (error != 0)
		return (error);
	size += 1;
	links += subdirectories;
	VERIFY0(sa_update(directory, fs->attributes[ZPL_SIZE], &size, sizeof (size), tx));
	VERIFY0(sa_update(directory, fs->attributes[ZPL_LINKS], &links, sizeof (links), tx));
	return (0);
}

/* Makes a name lead to the pending entry, new or instead of an old one. */
static int
link_in(writing_t *writing)
{
	filesystem_t *fs = &writing->fs;
	pending_t *pending = &writing->pending;
	new_file_t *file = &pending->file;
	boolean_t is_directory = S_ISDIR(file->entry.mode), replace = pending->old != 0;
	uint64_t object = pending->object;
	sa_handle_t *directory;
	int error = sa_handle_get(fs->os, file->parent, NULL, SA_HDL_PRIVATE, &directory);

	if (error != 0)
		return (error);
	dmu_tx_t *tx = dmu_tx_create(fs->os);
	dmu_tx_hold_zap(tx, file->parent, B_TRUE, pending->name);
	dmu_tx_hold_sa(tx, directory, B_TRUE);
	dmu_tx_hold_sa_create(tx, attributes_size(file));
	if (is_directory)
		dmu_tx_hold_zap(tx, DMU_NEW_OBJECT, B_TRUE, NULL);
	else
		dmu_tx_hold_bonus(tx, object != 0 ? object : DMU_NEW_OBJECT);
	if (object != 0 && file->packed_length > 0)
		dmu_tx_hold_spill(tx, object);
	error = assign(tx);
	if (error != 0) {
		sa_handle_destroy(directory);
		return (error);
	}
	if (is_directory) {
		object = zap_create(fs->os, DMU_OT_DIRECTORY_CONTENTS, DMU_OT_SA,
		    DN_OLD_MAX_BONUSLEN, tx);
	} else if (object == 0) {
		object = dmu_object_alloc(fs->os, DMU_OT_PLAIN_FILE_CONTENTS, SPA_MINBLOCKSIZE,
		    DMU_OT_SA, DN_OLD_MAX_BONUSLEN, tx);
	}
	uint64_t entry = object | (uint64_t)IFTODT(file->entry.mode) << 60;
	error = attributes_write(fs, object, file, B_TRUE, tx);
	if (error == 0)
		error = replace ?
		    zap_update(fs->os, file->parent, pending->name, 8, 1, &entry, tx) :
		    zap_add(fs->os, file->parent, pending->name, 8, 1, &entry, tx);
	if (error == 0 && !replace)
		error = count_entry(fs, directory, is_directory, tx);
	if (error != 0 && pending->object == 0)
		(void) dmu_object_free(fs->os, object, tx);
	dmu_tx_commit(tx);
	sa_handle_destroy(directory);
	return (error);
}

/* A directory that is there gets what its entry says. */
static int
update_directory(writing_t *writing, uint64_t object)
{
	filesystem_t *fs = &writing->fs;
	sa_handle_t *handle;
	int error = sa_handle_get(fs->os, object, NULL, SA_HDL_PRIVATE, &handle);

	if (error != 0)
		return (error);
	dmu_tx_t *tx = dmu_tx_create(fs->os);
	dmu_tx_hold_sa(tx, handle, B_TRUE);
	error = assign(tx);
	sa_handle_destroy(handle);
	if (error == 0) {
		error = attributes_write(fs, object, &writing->pending.file, B_FALSE, tx);
		dmu_tx_commit(tx);
	}
	return (error);
}

/* A file that other names lead to, or one with a directory of attributes, is not replaced. */
static int
check_replaceable(filesystem_t *fs, uint64_t object)
{
	uint64_t links, attributes;
	dmu_object_info_t info;
	sa_handle_t *handle;
	int error = dmu_object_info(fs->os, object, &info);

	if (error != 0)
		return (error);
	if (info.doi_type != DMU_OT_PLAIN_FILE_CONTENTS)
		return (EISDIR);
	error = sa_handle_get(fs->os, object, NULL, SA_HDL_PRIVATE, &handle);
	if (error != 0)
		return (error);
	error = sa_lookup(handle, fs->attributes[ZPL_LINKS], &links, sizeof (links));
	if (error == 0 && (links != 1 || sa_lookup(handle, fs->attributes[ZPL_XATTR], &attributes,
	    sizeof (attributes)) == 0))
		error = ENOTSUP;
	sa_handle_destroy(handle);
	return (error);
}

/* Whether something stands at the name already, and may be replaced. */
static int
look_for_old(writing_t *writing, uint64_t directory, const char *name, boolean_t *is_old_directory)
{
	pending_t *pending = &writing->pending;
	dmu_object_info_t info;
	uint64_t old;
	int error = path_lookup(&writing->fs, directory, name, &old);

	if (error == ENOENT)
		return (0);
	if (error == 0 && pending->file.entry.replace == 0)
		error = EEXIST;
	if (error == 0)
		error = dmu_object_info(writing->fs.os, old, &info);
	if (error != 0)
		return (error);
	if (S_ISDIR(pending->file.entry.mode)) {
		*is_old_directory = info.doi_type == DMU_OT_DIRECTORY_CONTENTS;
		pending->old = old;
		return (*is_old_directory ? 0 : EEXIST);
	}
	error = check_replaceable(&writing->fs, old);
	if (error == 0)
		pending->old = old;
	return (error);
}

static int
begin_entry(writing_t *writing, const uint8_t *bytes, size_t length)
{
	pending_t *pending = &writing->pending;
	tree_entry_t *entry = &pending->file.entry;

	if (length < sizeof (*entry))
		return (EINVAL);
	(void) memset(pending, 0, offsetof(pending_t, path));
	(void) memcpy(entry, bytes, sizeof (*entry));
	int error = path_clean(bytes + sizeof (*entry), length - sizeof (*entry), pending->path);
	if (error != 0)
		return (error);
	pending->there = B_TRUE;
	pending->attributes = fnvlist_alloc();
	switch (entry->mode & S_IFMT) {
	case S_IFDIR:
		entry->size = entry->links = 2;
		return (0);
	case S_IFREG:
		entry->links = 1;
		return (allocate(writing, entry->size, &pending->object));
	case S_IFLNK: case S_IFIFO: case S_IFSOCK: case S_IFCHR: case S_IFBLK:
		entry->size = 0;
		entry->links = 1;
		return (0);
	default:
		return (EINVAL);
	}
}

static int
keep_target(writing_t *writing, const uint8_t *bytes, size_t length)
{
	new_file_t *file = &writing->pending.file;

	if (!S_ISLNK(file->entry.mode) || file->target != NULL || length == 0 ||
	    length >= TREE_MAX_PATH)
		return (EINVAL);
	file->target = malloc(length);
	if (file->target == NULL)
		return (ENOMEM);
	(void) memcpy(file->target, bytes, length);
	file->target_length = file->entry.size = length;
	return (0);
}

static int
keep_attribute(writing_t *writing, const uint8_t *bytes, size_t length)
{
	char name[ZAP_MAXNAMELEN] = "";
	uint32_t name_length;

	if (length < sizeof (name_length))
		return (EINVAL);
	(void) memcpy(&name_length, bytes, sizeof (name_length));
	bytes += sizeof (name_length);
	length -= sizeof (name_length);
	if (name_length == 0 || name_length >= sizeof (name) || name_length > length)
		return (EINVAL);
	(void) memcpy(name, bytes, name_length);
	return (nvlist_add_byte_array(writing->pending.attributes, name,
	    (uchar_t *)bytes + name_length, length - name_length));
}

static int
pack_attributes(pending_t *pending)
{
	size_t length;
	char *packed = NULL;

	if (nvlist_empty(pending->attributes))
		return (0);
	int error = nvlist_pack(pending->attributes, &packed, &length, NV_ENCODE_XDR, 0);
	pending->file.packed = packed;
	pending->file.packed_length = length;
	/* What lies with the file is limited as the kernel limits it (DXATTR_MAX_SA_SIZE). */
	return (error == 0 && length > SPA_OLD_MAXBLOCKSIZE / 2 ? EFBIG : error);
}

static int
place_entry(writing_t *writing)
{
	pending_t *pending = &writing->pending;
	boolean_t is_old_directory = B_FALSE;
	int error;

	if (S_ISLNK(pending->file.entry.mode) && pending->file.target == NULL)
		return (EINVAL);
	/* The root has no name, and is always there. */
	if (pending->path[0] == '\0')
		return (S_ISDIR(pending->file.entry.mode) ?
		    update_directory(writing, writing->fs.root) : EISDIR);
	error = find_place(&writing->fs, pending->path, &pending->file.parent, &pending->name);
	if (error == 0)
		error = look_for_old(writing, pending->file.parent, pending->name,
		    &is_old_directory);
	if (error != 0)
		return (error);
	if (is_old_directory)
		return (update_directory(writing, pending->old));
	error = link_in(writing);
	if (error == 0 && pending->old != 0)
		error = dmu_free_long_object(writing->fs.os, pending->old);
	if (error == 0)
		pending->object = 0;
	return (error);
}

/* The entry with all its frames: now its name leads to it, or nothing of it is left. */
static int
end_entry(writing_t *writing, int error)
{
	pending_t *pending = &writing->pending;

	if (!pending->there)
		return (error);
	if (error == 0)
		error = pack_attributes(pending);
	if (error == 0)
		error = place_entry(writing);
	if (error != 0 && pending->object != 0)
		(void) dmu_free_long_object(writing->fs.os, pending->object);
	nvlist_free(pending->attributes);
	free(pending->file.target);
	free(pending->file.packed);
	pending->there = B_FALSE;
	return (error);
}

/* One more name for a file that has one. */
static int
add_link(writing_t *writing, uint8_t *bytes, size_t length)
{
	filesystem_t *fs = &writing->fs;
	char *path = writing->pending.path;
	uint8_t *end = memchr(bytes, '\0', length);
	uint64_t directory, object, mode, links;
	const char *name;
	sa_handle_t *parent, *file;

	if (end == NULL)
		return (EINVAL);
	int error = path_clean(end + 1, length - (end + 1 - bytes), path);
	if (error == 0)
		error = path_lookup(fs, fs->root, path, &object);
	if (error == 0)
		error = path_clean(bytes, end - bytes, path);
	if (error == 0)
		error = find_place(fs, path, &directory, &name);
	if (error == 0)
		error = sa_handle_get(fs->os, object, NULL, SA_HDL_PRIVATE, &file);
	if (error != 0)
		return (error);
	error = sa_lookup(file, fs->attributes[ZPL_MODE], &mode, sizeof (mode));
	if (error == 0)
		error = sa_lookup(file, fs->attributes[ZPL_LINKS], &links, sizeof (links));
	if (error == 0 && S_ISDIR(mode))
		error = EISDIR;
	if (error == 0)
		error = sa_handle_get(fs->os, directory, NULL, SA_HDL_PRIVATE, &parent);
	if (error != 0) {
		sa_handle_destroy(file);
		return (error);
	}
	dmu_tx_t *tx = dmu_tx_create(fs->os);
	dmu_tx_hold_zap(tx, directory, B_TRUE, name);
	dmu_tx_hold_sa(tx, parent, B_FALSE);
	dmu_tx_hold_sa(tx, file, B_FALSE);
	error = assign(tx);
	if (error == 0) {
		uint64_t entry = object | (uint64_t)IFTODT(mode) << 60;
		error = zap_add(fs->os, directory, name, 8, 1, &entry, tx);
		if (error == 0)
			error = count_entry(fs, parent, 0, tx);
		links += 1;
		if (error == 0)
			error = sa_update(file, fs->attributes[ZPL_LINKS], &links, sizeof (links),
			    tx);
		dmu_tx_commit(tx);
	}
	sa_handle_destroy(parent);
	sa_handle_destroy(file);
	return (error);
}

/* An entry ends where the next one, a link or the tree's end begins. */
static int
write_frames(writing_t *writing, frames_t *frames)
{
	enum frame_kind kind;
	uint8_t *bytes;
	size_t length;
	int error;

	while ((error = frame_next(frames, &kind, &bytes, &length)) == 0) {
		if (kind == FRAME_ENTRY || kind == FRAME_LINK || kind == FRAME_END)
			error = end_entry(writing, 0);
		else if (!writing->pending.there)
			error = EINVAL;
		if (error != 0)
			break;
		if (kind == FRAME_END)
			return (0);
		error = kind == FRAME_ENTRY ? begin_entry(writing, bytes, length) :
		    kind == FRAME_LINK ? add_link(writing, bytes, length) :
		    kind == FRAME_TARGET ? keep_target(writing, bytes, length) :
		    kind == FRAME_ATTRIBUTE ? keep_attribute(writing, bytes, length) :
		    kind == FRAME_CONTENT ? write_content(writing, bytes, length) : EINVAL;
		if (error != 0)
			break;
	}
	return (end_entry(writing, error));
}

int
tree_write(request_t *request)
{
	char *dataset = fnvlist_lookup_string(request->in, "dataset");
	writing_t *writing = calloc(1, sizeof (*writing));
	frames_t frames;
	objset_t *os;

	if (writing == NULL)
		return (ENOMEM);
	int error = frames_open(&frames, request);
	if (error == 0)
		error = dmu_objset_own(dataset, DMU_OST_ANY, B_FALSE, B_TRUE, FTAG, &os);
	if (error == 0) {
		error = filesystem_of(os, &writing->fs);
		writing->record_size = SPA_OLD_MAXBLOCKSIZE;
		(void) dsl_prop_get_integer(dataset, "recordsize", &writing->record_size, NULL);
		if (error == 0)
			error = write_frames(writing, &frames);
		txg_wait_synced(dmu_objset_pool(os), 0);
		dmu_objset_disown(os, B_TRUE, FTAG);
	}
	fnvlist_add_byte_array(request->out, "path", (uchar_t *)writing->pending.path,
	    strlen(writing->pending.path) + 1);
	frames_close(&frames);
	free(writing);
	return (error);
}

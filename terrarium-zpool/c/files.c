/* Files and directories: written into a dataset, read back from it or from a snapshot. */
#include "engine.h"

#include <sys/sa.h>
#include <sys/stat.h>
#include <sys/zfs_acl.h>
#include <sys/zfs_sa.h>
#include <sys/zfs_znode.h>

/* The amount of one transaction. */
#define	PIECE	(1U << 20)

/* Where a new entry goes: the directory and the name in it. */
typedef struct place {
	uint64_t directory;
	const char *name;
} place_t;

static int
find_place(filesystem_t *fs, char *path, place_t *place)
{
	char *slash = strrchr(path, '/');
	dmu_object_info_t info;

	place->name = slash == NULL ? path : slash + 1;
	place->directory = fs->root;
	if (slash != NULL) {
		*slash = '\0';
		int error = path_lookup(fs, fs->root, path, &place->directory);
		if (error != 0)
			return (error);
	}
	int error = dmu_object_info(fs->os, place->directory, &info);
	if (error != 0)
		return (error);
	if (info.doi_type != DMU_OT_DIRECTORY_CONTENTS)
		return (ENOTDIR);
	if (place->name[0] == '\0' || strcmp(place->name, ".") == 0 ||
	    strcmp(place->name, "..") == 0)
		return (EINVAL);
	return (strlen(place->name) >= ZAP_MAXNAMELEN ? ENAMETOOLONG : 0);
}

/* A directory's size is the number of its entries, and two. */
static int
count_entry(filesystem_t *fs, sa_handle_t *directory, int subdirectories, dmu_tx_t *tx)
{
	uint64_t size, links, time[2];
	int error = sa_lookup(directory, fs->attributes[ZPL_SIZE], &size, sizeof (size));

	if (error == 0)
		error = sa_lookup(directory, fs->attributes[ZPL_LINKS], &links, sizeof (links));
	if (error != 0)
		return (error);
	now(time);
	size += 1;
	links += subdirectories;
	VERIFY0(sa_update(directory, fs->attributes[ZPL_SIZE], &size, sizeof (size), tx));
	VERIFY0(sa_update(directory, fs->attributes[ZPL_LINKS], &links, sizeof (links), tx));
	VERIFY0(sa_update(directory, fs->attributes[ZPL_MTIME], time, sizeof (time), tx));
	VERIFY0(sa_update(directory, fs->attributes[ZPL_CTIME], time, sizeof (time), tx));
	return (0);
}

/* A file of one block has a block as large as it is, a larger one has blocks of the record size. */
static int
block_size(const char *dataset, uint64_t size)
{
	uint64_t record = SPA_OLD_MAXBLOCKSIZE;

	(void) dsl_prop_get_integer(dataset, "recordsize", &record, NULL);
	if (size >= record)
		return (record);
	return (MAX(P2ROUNDUP(size, SPA_MINBLOCKSIZE), SPA_MINBLOCKSIZE));
}

static int
write_content(objset_t *os, uint64_t object, const uchar_t *bytes, uint64_t size)
{
	for (uint64_t done = 0; done < size; ) {
		uint64_t length = MIN(size - done, PIECE);
		dmu_tx_t *tx = dmu_tx_create(os);
		dmu_tx_hold_write(tx, object, done, length);
		int error = dmu_tx_assign(tx, TXG_WAIT);
		if (error != 0) {
			dmu_tx_abort(tx);
			return (error);
		}
		dmu_write(os, object, done, length, bytes + done, tx);
		dmu_tx_commit(tx);
		done += length;
	}
	return (0);
}

/*
 * The new file is written whole before its name leads to it: one that cannot be written leaves what
 * was there.
 */
static int
allocate(filesystem_t *fs, int block, uint64_t *object)
{
	dmu_tx_t *tx = dmu_tx_create(fs->os);

	dmu_tx_hold_bonus(tx, DMU_NEW_OBJECT);
	int error = dmu_tx_assign(tx, TXG_WAIT);
	if (error != 0) {
		dmu_tx_abort(tx);
		return (error);
	}
	*object = dmu_object_alloc(fs->os, DMU_OT_PLAIN_FILE_CONTENTS, block, DMU_OT_SA,
	    DN_OLD_MAX_BONUSLEN, tx);
	dmu_tx_commit(tx);
	return (0);
}

/* Makes a name lead to an object, new or instead of an old one. */
static int
link_in(filesystem_t *fs, place_t *place, uint64_t object, new_file_t *file, boolean_t replace)
{
	boolean_t is_directory = S_ISDIR(file->mode);
	uint64_t entry = object | (uint64_t)IFTODT(file->mode) << 60;
	sa_handle_t *directory;
	int error = sa_handle_get(fs->os, place->directory, NULL, SA_HDL_PRIVATE, &directory);

	if (error != 0)
		return (error);
	dmu_tx_t *tx = dmu_tx_create(fs->os);
	dmu_tx_hold_zap(tx, place->directory, B_TRUE, place->name);
	dmu_tx_hold_sa(tx, directory, B_TRUE);
	dmu_tx_hold_sa_create(tx, DN_OLD_MAX_BONUSLEN);
	if (is_directory)
		dmu_tx_hold_zap(tx, DMU_NEW_OBJECT, B_TRUE, NULL);
	else
		dmu_tx_hold_bonus(tx, object);
	error = dmu_tx_assign(tx, TXG_WAIT);
	if (error != 0) {
		dmu_tx_abort(tx);
		sa_handle_destroy(directory);
		return (error);
	}
	if (is_directory) {
		object = zap_create(fs->os, DMU_OT_DIRECTORY_CONTENTS, DMU_OT_SA,
		    DN_OLD_MAX_BONUSLEN, tx);
		entry |= object;
	}
	file->parent = place->directory;
	now(file->now);
	attributes_write(fs, object, file, tx);
	error = replace ? zap_update(fs->os, place->directory, place->name, 8, 1, &entry, tx) :
	    zap_add(fs->os, place->directory, place->name, 8, 1, &entry, tx);
	if (error == 0 && !replace)
		error = count_entry(fs, directory, is_directory, tx);
	dmu_tx_commit(tx);
	sa_handle_destroy(directory);
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

static int
write_in(filesystem_t *fs, const char *dataset, char *path, mode_t mode, const uchar_t *bytes,
    uint64_t size)
{
	new_file_t file = { .mode = S_IFREG | mode, .size = size, .links = 1 };
	uint64_t object, old = 0;
	place_t place;
	int error = find_place(fs, path, &place);

	if (error != 0)
		return (error);
	error = path_lookup(fs, place.directory, place.name, &old);
	if (error == ENOENT)
		old = 0;
	else if (error != 0 || (error = check_replaceable(fs, old)) != 0)
		return (error);
	error = allocate(fs, block_size(dataset, size), &object);
	if (error != 0)
		return (error);
	error = write_content(fs->os, object, bytes, size);
	if (error == 0)
		error = link_in(fs, &place, object, &file, old != 0);
	if (error != 0)
		(void) dmu_free_long_object(fs->os, object);
	else if (old != 0)
		error = dmu_free_long_object(fs->os, old);
	return (error);
}

/* Opens a dataset to write, does it, and answers when it is on disk. */
static int
with_dataset(request_t *request, int (*change)(request_t *, filesystem_t *, const char *, char *))
{
	char *dataset = fnvlist_lookup_string(request->in, "dataset");
	char *path = strdup(fnvlist_lookup_string(request->in, "path"));
	filesystem_t fs;
	objset_t *os;
	int error = dmu_objset_own(dataset, DMU_OST_ZFS, B_FALSE, B_TRUE, FTAG, &os);

	if (error == 0) {
		error = filesystem_of(os, &fs);
		if (error == 0)
			error = change(request, &fs, dataset, path);
		txg_wait_synced(dmu_objset_pool(os), 0);
		dmu_objset_disown(os, B_TRUE, FTAG);
	}
	free(path);
	return (error);
}

static int
write_request(request_t *request, filesystem_t *fs, const char *dataset, char *path)
{
	uchar_t *bytes = NULL;
	uint_t size = 0;
	mode_t mode = fnvlist_lookup_uint64(request->in, "mode") & 07777;

	/* An empty one is not sent. */
	(void) nvlist_lookup_byte_array(request->in, "content", &bytes, &size);
	return (write_in(fs, dataset, path, mode, bytes, size));
}

int
file_write(request_t *request)
{
	return (with_dataset(request, write_request));
}

static int
directory_request(request_t *request, filesystem_t *fs, const char *dataset, char *path)
{
	mode_t mode = fnvlist_lookup_uint64(request->in, "mode") & 07777;
	new_file_t directory = { .mode = S_IFDIR | mode, .size = 2, .links = 2 };
	place_t place;
	uint64_t existing;
	int error = find_place(fs, path, &place);

	(void) dataset;
	if (error != 0)
		return (error);
	error = path_lookup(fs, place.directory, place.name, &existing);
	if (error != ENOENT)
		return (error == 0 ? EEXIST : error);
	return (link_in(fs, &place, 0, &directory, B_FALSE));
}

int
directory_create(request_t *request)
{
	return (with_dataset(request, directory_request));
}

static int
read_object(request_t *request, filesystem_t *fs, uint64_t object)
{
	uint64_t limit = fnvlist_lookup_uint64(request->in, "limit");
	uint64_t mode = 0, size = 0;
	sa_handle_t *handle;
	int error = sa_handle_get(fs->os, object, NULL, SA_HDL_PRIVATE, &handle);

	if (error != 0)
		return (error);
	error = sa_lookup(handle, fs->attributes[ZPL_MODE], &mode, sizeof (mode));
	if (error == 0)
		error = sa_lookup(handle, fs->attributes[ZPL_SIZE], &size, sizeof (size));
	/* Kept any longer it would keep the pool from being closed after an error. */
	sa_handle_destroy(handle);
	if (error != 0)
		return (error);
	if (!S_ISREG(mode))
		return (ENOENT);
	if (size > limit)
		return (EFBIG);
	uchar_t *bytes = malloc(MAX(size, 1));
	if (bytes == NULL)
		return (ENOMEM);
	error = dmu_read(fs->os, object, 0, size, bytes, DMU_READ_PREFETCH);
	if (error == 0)
		fnvlist_add_byte_array(request->out, "content", bytes, size);
	free(bytes);
	return (error);
}

int
file_read(request_t *request)
{
	filesystem_t fs;
	objset_t *os;
	uint64_t object;
	int error = dmu_objset_hold_flags(fnvlist_lookup_string(request->in, "object"), B_TRUE,
	    FTAG, &os);

	if (error != 0)
		return (error);
	error = filesystem_of(os, &fs);
	if (error == 0) {
		error = path_lookup(&fs, fs.root, fnvlist_lookup_string(request->in, "path"), &object);
		/* A path through a file leads nowhere. */
		if (error == ENOENT || error == ENOTDIR) {
			fnvlist_add_uint64(request->out, "absent", 1);
			error = 0;
		} else if (error == 0) {
			error = read_object(request, &fs, object);
			if (error == ENOENT) {
				fnvlist_add_uint64(request->out, "absent", 1);
				error = 0;
			}
		}
	}
	dmu_objset_rele_flags(os, B_TRUE, FTAG);
	return (error);
}

/* The pool in its file. */
#include "engine.h"

#include <fcntl.h>
#include <sys/fs/zfs.h>
#include <sys/file.h>
#include <sys/vdev_impl.h>
#include <sys/zfeature.h>
#include <unistd.h>
#include <zfeature_common.h>

/* One pool per process. */
static char pool[ZFS_MAX_DATASET_NAME_LEN];
/* Holds the lock for as long as the process lives. */
static int locked = -1;

/*
 * The kernel takes no lock on the file of a pool that it has imported, but nobody gets a lease on a
 * file that is open for writing elsewhere. Where there are no leases, nothing is known.
 */
static boolean_t
is_written_elsewhere(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	boolean_t written = B_FALSE;

	if (fd >= 0) {
		written = fcntl(fd, F_SETLEASE, F_RDLCK) != 0 && errno == EAGAIN;
		(void) fcntl(fd, F_SETLEASE, F_UNLCK);
		(void) close(fd);
	}
	return (written);
}

/* Two processes on one file silently lose data: whoever has the lock has the pool. */
static int
lock(const char *path, int flags)
{
	if (locked >= 0)
		return (EBUSY);
	int fd = open(path, O_RDWR | O_CLOEXEC | flags, 0600);
	if (fd < 0)
		return (errno);
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		int error = errno == EWOULDBLOCK ? REFUSE_LOCKED : errno;
		(void) close(fd);
		return (error);
	}
	locked = fd;
	return (0);
}

static void
unlock(void)
{
	(void) close(locked);
	locked = -1;
}

/* {type root, children [vdev]} */
static nvlist_t *
root_of(nvlist_t *vdev)
{
	nvlist_t *root = fnvlist_alloc();

	fnvlist_add_string(root, ZPOOL_CONFIG_TYPE, VDEV_TYPE_ROOT);
	fnvlist_add_nvlist_array(root, ZPOOL_CONFIG_CHILDREN, &vdev, 1);
	return (root);
}

/* Features have to be named one by one, or stay off. */
static nvlist_t *
new_pool_properties(void)
{
	nvlist_t *properties = fnvlist_alloc();
	char name[256];

	fnvlist_add_string(properties, zpool_prop_to_name(ZPOOL_PROP_CACHEFILE), "none");
	for (int i = 0; i < SPA_FEATURES; i++) {
		(void) snprintf(name, sizeof (name), "feature@%s", spa_feature_table[i].fi_uname);
		fnvlist_add_uint64(properties, name, 0);
	}
	return (properties);
}

static int
create_in(const char *path, const char *name)
{
	nvlist_t *file = fnvlist_alloc();

	fnvlist_add_string(file, ZPOOL_CONFIG_TYPE, VDEV_TYPE_FILE);
	fnvlist_add_string(file, ZPOOL_CONFIG_PATH, path);
	fnvlist_add_uint64(file, ZPOOL_CONFIG_IS_LOG, 0);
	/* A small file takes no more room in the pool than in a stream. */
	fnvlist_add_uint64(file, ZPOOL_CONFIG_ASHIFT, SPA_MINBLOCKSHIFT);
	nvlist_t *root = root_of(file), *properties = new_pool_properties();
	int error = spa_create(name, root, properties, NULL, NULL);
	nvlist_free(properties);
	nvlist_free(root);
	nvlist_free(file);
	if (error == 0) {
		(void) snprintf(pool, sizeof (pool), "%s", name);
		error = filesystem_create_in_root(name);
	}
	return (error);
}

int
pool_create(request_t *request)
{
	char *path = fnvlist_lookup_string(request->in, "path");
	char *name = fnvlist_lookup_string(request->in, "pool");
	int error = lock(path, O_CREAT | O_EXCL);

	if (error != 0)
		return (error);
	/* Preallocated: a host's disk that fills up later would hang the pool. */
	error = posix_fallocate(locked, 0, fnvlist_lookup_uint64(request->in, "size"));
	if (error == 0)
		error = create_in(path, name);
	if (error != 0) {
		(void) unlink(path);
		unlock();
	}
	return (error);
}

/* The configuration in one of the four labels of 256 KiB: two in front, two at the end. */
static int
read_label(int n, nvlist_t **label)
{
	off_t size = lseek(locked, 0, SEEK_END) & ~(off_t)(sizeof (vdev_label_t) - 1);
	off_t at = n < 2 ? n * sizeof (vdev_label_t) : size - (4 - n) * sizeof (vdev_label_t);
	vdev_phys_t *phys = malloc(sizeof (*phys));
	int error = REFUSE_NO_POOL;

	if (phys != NULL && size >= (off_t)(4 * sizeof (vdev_label_t)) &&
	    pread(locked, phys, sizeof (*phys), at + offsetof(vdev_label_t, vl_vdev_phys)) ==
	    sizeof (*phys) &&
	    nvlist_unpack(phys->vp_nvlist, sizeof (phys->vp_nvlist), label, 0) == 0)
		error = 0;
	free(phys);
	return (error);
}

static int
import_as_labelled(const char *path, nvlist_t *label)
{
	nvlist_t *vdev;
	char *name;
	uint64_t guid, version, state;

	if (nvlist_lookup_nvlist(label, ZPOOL_CONFIG_VDEV_TREE, &vdev) != 0 ||
	    nvlist_lookup_string(label, ZPOOL_CONFIG_POOL_NAME, &name) != 0 ||
	    nvlist_lookup_uint64(label, ZPOOL_CONFIG_POOL_GUID, &guid) != 0 ||
	    nvlist_lookup_uint64(label, ZPOOL_CONFIG_VERSION, &version) != 0 ||
	    nvlist_lookup_uint64(label, ZPOOL_CONFIG_POOL_STATE, &state) != 0 ||
	    strlen(name) >= sizeof (pool))
		return (REFUSE_NO_POOL);
	/* The file may have been moved. */
	vdev = fnvlist_dup(vdev);
	fnvlist_add_string(vdev, ZPOOL_CONFIG_PATH, path);
	nvlist_t *root = root_of(vdev), *config = fnvlist_alloc(), *properties = fnvlist_alloc();
	fnvlist_add_uint64(root, ZPOOL_CONFIG_ID, 0);
	fnvlist_add_uint64(root, ZPOOL_CONFIG_GUID, guid);
	fnvlist_add_string(config, ZPOOL_CONFIG_POOL_NAME, name);
	fnvlist_add_uint64(config, ZPOOL_CONFIG_POOL_GUID, guid);
	fnvlist_add_uint64(config, ZPOOL_CONFIG_VERSION, version);
	fnvlist_add_uint64(config, ZPOOL_CONFIG_POOL_STATE, state);
	fnvlist_add_uint64(config, ZPOOL_CONFIG_VDEV_CHILDREN, 1);
	fnvlist_add_nvlist(config, ZPOOL_CONFIG_VDEV_TREE, root);
	fnvlist_add_string(properties, zpool_prop_to_name(ZPOOL_PROP_CACHEFILE), "none");
	int error = spa_import(name, config, properties, ZFS_IMPORT_NORMAL);
	if (error == 0)
		(void) snprintf(pool, sizeof (pool), "%s", name);
	nvlist_free(properties);
	nvlist_free(config);
	nvlist_free(root);
	nvlist_free(vdev);
	return (error);
}

int
pool_open(request_t *request)
{
	char *path = fnvlist_lookup_string(request->in, "path");
	nvlist_t *label = NULL;
	int error = is_written_elsewhere(path) ? REFUSE_LOCKED : lock(path, 0);

	if (error != 0)
		return (error);
	for (int n = 0; n < 4 && label == NULL; n++)
		error = read_label(n, &label);
	if (error == 0 || label != NULL)
		error = import_as_labelled(path, label);
	nvlist_free(label);
	if (error == 0)
		fnvlist_add_string(request->out, "pool", pool);
	else
		unlock();
	return (error);
}

int
pool_close(request_t *request)
{
	int error = 0;

	(void) request;
	if (pool[0] == '\0')
		return (0);
	/* What a hold or a destroy does behind the scenes may still have it for a moment. */
	for (int attempt = 0; attempt < 50; attempt++) {
		error = spa_export(pool, NULL, B_FALSE, B_FALSE);
		if (error != EBUSY)
			break;
		(void) usleep(20000);
	}
	if (error == 0) {
		pool[0] = '\0';
		unlock();
	}
	return (error);
}

int
pool_health(request_t *request)
{
	char *name = fnvlist_lookup_string(request->in, "pool");
	spa_t *spa;
	dsl_pool_t *dp;
	dsl_dataset_t *ds;
	int error = spa_open(name, &spa, FTAG);

	if (error != 0)
		return (error);
	fnvlist_add_string(request->out, "state", spa_state_to_name(spa));
	fnvlist_add_uint64(request->out, "readonly", !spa_writeable(spa));
	spa_close(spa, FTAG);
	error = dsl_pool_hold(name, FTAG, &dp);
	if (error != 0)
		return (error);
	error = dsl_dataset_hold(dp, name, FTAG, &ds);
	if (error == 0) {
		fnvlist_add_uint64(request->out, "free", dsl_get_available(ds));
		dsl_dataset_rele(ds, FTAG);
	}
	dsl_pool_rele(dp, FTAG);
	return (error);
}

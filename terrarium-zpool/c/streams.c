/* Send streams, out of and into the file descriptor that came with the request. */
#include "engine.h"

#include <sys/dmu_recv.h>
#include <sys/dmu_send.h>
#include <sys/dsl_destroy.h>
#include <unistd.h>
#include <zfeature_common.h>

/* A record of a stream: sys/zfs_ioctl.h, which would say so, is not among the headers. */
#define	RECORD_SIZE	312

typedef struct output {
	int fd;
	int error;
	uint64_t bytes;
} output_t;

static int
write_out(objset_t *os, void *buffer, int length, void *arg)
{
	output_t *output = arg;

	(void) os;
	for (int done = 0; done < length; ) {
		ssize_t n = write(output->fd, (char *)buffer + done, length - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return (output->error = errno);
		done += n;
		output->bytes += n;
	}
	return (0);
}

/* A debug build, which libzpool is, aborts over a block that is larger than its record may be. */
static int
refuse_large_blocks(const char *snapshot)
{
	dsl_pool_t *dp;
	dsl_dataset_t *ds;
	int error = dsl_pool_hold(snapshot, FTAG, &dp);

	if (error != 0)
		return (error);
	error = dsl_dataset_hold(dp, snapshot, FTAG, &ds);
	if (error == 0) {
		if (dsl_dataset_feature_is_active(ds, SPA_FEATURE_LARGE_BLOCKS))
			error = REFUSE_NEEDS_LARGE_BLOCKS;
		dsl_dataset_rele(ds, FTAG);
	}
	dsl_pool_rele(dp, FTAG);
	return (error);
}

int
stream_send(request_t *request)
{
	char *snapshot = fnvlist_lookup_string(request->in, "snapshot"), *from = NULL;
	output_t output = { .fd = request->fd };
	dmu_send_outparams_t out = { .dso_outfunc = write_out, .dso_arg = &output };
	boolean_t large = nvlist_exists(request->in, "large_blocks");
	boolean_t embedded = nvlist_exists(request->in, "embedded");
	boolean_t compressed = nvlist_exists(request->in, "compressed");
	boolean_t raw = nvlist_exists(request->in, "raw");
	offset_t offset = 0;

	if (request->fd < 0)
		return (EBADF);
	/* A raw stream has its blocks as they are. */
	if (!large && !raw) {
		int error = refuse_large_blocks(snapshot);
		if (error != 0)
			return (error);
	}
	(void) nvlist_lookup_string(request->in, "from", &from);
	request_watch(request, &output.bytes);
	int error = dmu_send(snapshot, from, embedded, large, compressed, raw, B_FALSE, 0, 0, NULL,
	    request->fd, &offset, &out);
	request_watch(request, NULL);
	return (output.error != 0 ? output.error : error);
}

/* How large a stream would be, more or less. From a bookmark every block would have to be looked at. */
int
stream_estimate(request_t *request)
{
	char *snapshot = fnvlist_lookup_string(request->in, "snapshot"), *from = NULL;
	boolean_t compressed = nvlist_exists(request->in, "compressed") ||
	    nvlist_exists(request->in, "raw");
	dsl_pool_t *dp;
	dsl_dataset_t *ds, *since = NULL;
	uint64_t bytes;

	(void) nvlist_lookup_string(request->in, "from", &from);
	int error = dsl_pool_hold(snapshot, FTAG, &dp);
	if (error != 0)
		return (error);
	error = dsl_dataset_hold(dp, snapshot, FTAG, &ds);
	if (error == 0) {
		if (from != NULL)
			error = dsl_dataset_hold(dp, from, FTAG, &since);
		if (error == 0)
			error = dmu_send_estimate_fast(ds, since, NULL, compressed, B_FALSE, &bytes);
		if (error == 0)
			fnvlist_add_uint64(request->out, "bytes", bytes);
		if (since != NULL)
			dsl_dataset_rele(since, FTAG);
		dsl_dataset_rele(ds, FTAG);
	}
	dsl_pool_rele(dp, FTAG);
	return (error);
}

/* The first record of a stream, or as much of it as there is. */
int
stream_begin(request_t *request)
{
	uint8_t record[RECORD_SIZE];
	uint64_t got = 0;
	int error = 0;

	request_watch(request, &got);
	while (got < sizeof (record) && error == 0) {
		ssize_t n = read(request->fd, record + got, sizeof (record) - got);
		if (n == 0)
			break;
		if (n > 0)
			got += n;
		else if (errno != EINTR)
			error = errno;
	}
	request_watch(request, NULL);
	if (got > 0)
		fnvlist_add_byte_array(request->out, "begin", record, got);
	return (error);
}

int
stream_receive(request_t *request)
{
	char *dataset = fnvlist_lookup_string(request->in, "dataset");
	char *snapshot = fnvlist_lookup_string(request->in, "snapshot"), *origin = NULL;
	nvlist_t *properties = fnvlist_lookup_nvlist(request->in, "properties");
	boolean_t force = nvlist_exists(request->in, "force");
	boolean_t resumable = nvlist_exists(request->in, "resumable");
	zfs_file_t input = { .f_fd = request->fd, .f_dump_fd = -1 };
	/* As dmu_recv_begin wants it: aligned, and its own to change. */
	uint64_t begin[RECORD_SIZE / sizeof (uint64_t)];
	uchar_t *record;
	uint_t length;
	dmu_recv_cookie_t cookie = { 0 };
	offset_t offset = 0;

	if (request->fd < 0 ||
	    nvlist_lookup_byte_array(request->in, "begin", &record, &length) != 0 ||
	    length != RECORD_SIZE)
		return (EINVAL);
	(void) memcpy(begin, record, RECORD_SIZE);
	(void) nvlist_lookup_string(request->in, "origin", &origin);
	request_watch(request, &cookie.drc_voff);
	int error = dmu_recv_begin(dataset, snapshot, (dmu_replay_record_t *)begin, force,
	    resumable, properties, NULL, origin, &cookie, &input, &offset);
	if (error == 0)
		error = dmu_recv_stream(&cookie, &offset);
	if (error == 0)
		error = dmu_recv_end(&cookie, NULL);
	request_watch(request, NULL);
	fnvlist_add_uint64(request->out, "bytes", offset);
	if (error == 0) {
		nvlist_t *failed = fnvlist_alloc();
		(void) set_properties(dataset, properties, failed);
		fnvlist_add_nvlist(request->out, "failed", failed);
		nvlist_free(failed);
	}
	return (error);
}

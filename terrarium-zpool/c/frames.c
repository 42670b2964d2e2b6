/* Frames through a pipe, with a buffer. */
#include "tree.h"

#include <unistd.h>

#define	HEAD	(2 * sizeof (uint32_t))
#define	ROOM	(HEAD + TREE_MAX_FRAME)

int
frames_open(frames_t *frames, request_t *request)
{
	*frames = (frames_t){ .fd = request->fd, .buffer = malloc(ROOM), .request = request };
	if (request->fd < 0 || frames->buffer == NULL)
		frames->error = request->fd < 0 ? EBADF : ENOMEM;
	request_watch(request, &frames->bytes);
	return (frames->error);
}

void
frames_close(frames_t *frames)
{
	request_watch(frames->request, NULL);
	free(frames->buffer);
}

void
frames_flush(frames_t *frames)
{
	for (size_t done = 0; done < frames->used && frames->error == 0; ) {
		ssize_t n = write(frames->fd, frames->buffer + done, frames->used - done);
		if (n >= 0) {
			done += n;
			frames->bytes += n;
		} else if (errno != EINTR) {
			frames->error = errno;
		}
	}
	frames->used = 0;
}

uint8_t *
frame_reserve(frames_t *frames, size_t length)
{
	VERIFY3U(length, <=, TREE_MAX_FRAME);
	if (frames->used + HEAD + length > ROOM)
		frames_flush(frames);
	return (frames->buffer + frames->used + HEAD);
}

void
frame_commit(frames_t *frames, enum frame_kind kind, size_t length)
{
	uint32_t head[2] = { kind, length };

	(void) memcpy(frames->buffer + frames->used, head, HEAD);
	frames->used += HEAD + length;
}

void
frame_put(frames_t *frames, enum frame_kind kind, const void *head, size_t head_length,
    const void *rest, size_t rest_length)
{
	uint8_t *at = frame_reserve(frames, head_length + rest_length);

	(void) memcpy(at, head, head_length);
	if (rest_length > 0)
		(void) memcpy(at + head_length, rest, rest_length);
	frame_commit(frames, kind, head_length + rest_length);
}

static int
read_exactly(frames_t *frames, uint8_t *buffer, size_t length)
{
	for (size_t done = 0; done < length; ) {
		ssize_t n = read(frames->fd, buffer + done, length - done);
		if (n == 0)
			return (EPIPE);
		if (n > 0) {
			done += n;
			frames->bytes += n;
		} else if (errno != EINTR) {
			return (errno);
		}
	}
	return (0);
}

int
frame_next(frames_t *frames, enum frame_kind *kind, uint8_t **bytes, size_t *length)
{
	uint32_t head[2];
	int error = read_exactly(frames, (uint8_t *)head, HEAD);

	if (error == 0 && head[1] > TREE_MAX_FRAME)
		error = EINVAL;
	if (error == 0)
		error = read_exactly(frames, frames->buffer, head[1]);
	*kind = head[0];
	*bytes = frames->buffer;
	*length = head[1];
	return (error);
}

/*
 * Stands in for a header that OpenZFS's other headers include and that Debian's package lacks.
 *
 * Nothing here is looked into: the types are only named in declarations, or passed as bytes of a
 * size that is checked (streams.c).
 */
#ifndef TERRARIUM_MISSING_ZFS_IOCTL_H
#define TERRARIUM_MISSING_ZFS_IOCTL_H

typedef struct dmu_replay_record dmu_replay_record_t;

#endif

/* graphdet: run a compiled detector (`.gdet` file) from C, or from any language that can call C.
 *
 * Contracts are those of graphdet.hpp. A function that can fail returns a gd_status; the text of the calling thread's
 * last failure is `gd_last_error()`. Pointers may be null only where said so.
 */
#ifndef GRAPHDET_C_H
#define GRAPHDET_C_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define GRAPHDET_C_API
#else
#define GRAPHDET_C_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* 0, or the number of graphdet's error: 403 is GD403, and so on (see graphdet/status.hpp). Later versions may add some.
 */
typedef int32_t gd_status;
#define GD_OK 0

/* Text of the last failure on this thread, "GD403: ..."; valid until the next failure on it. Never null. */
GRAPHDET_C_API const char* gd_last_error(void);
GRAPHDET_C_API const char* gd_version(void);

/* --- engine: free with gd_engine_free; detecting from several threads at once is allowed, freeing meanwhile is not. */
typedef struct gd_engine gd_engine;

/* threads: CPU threads of the network, 0 leaves the number to the backend. `*out` is null on failure. */
GRAPHDET_C_API gd_status gd_engine_load(const char* path, int32_t threads, gd_engine** out);
GRAPHDET_C_API void gd_engine_free(gd_engine* engine); /* null is allowed */
GRAPHDET_C_API size_t gd_engine_class_count(const gd_engine* engine);
/* Name of a class, null where the file has none for this label. Valid as long as the engine. */
GRAPHDET_C_API const char* gd_engine_class_name(const gd_engine* engine, int64_t label);

/* --- detection */
#define GD_BGR 0
#define GD_RGB 1

/* Boxes (x1, y1, x2, y2) in pixels of their image, one after the other; `data` may be null when count is 0. */
typedef struct gd_boxes {
    const float* data;
    int64_t count;
} gd_boxes;

/* Start from zeros (`gd_image image = {0};`): a field that nothing sets is absent. */
typedef struct gd_image {
    const uint8_t* data; /* channels last */
    int64_t height;
    int64_t width;
    int64_t row_bytes;         /* 0: rows follow one another */
    int32_t channels;          /* 1, 3 or 4 */
    int32_t order;             /* GD_BGR or GD_RGB */
    const gd_boxes* proposals; /* for a detector that is given boxes, which needs them, be they none; else null */
} gd_image;

typedef struct gd_detection {
    float box[4]; /* x1, y1, x2, y2 in pixels of the original image */
    float score;
    int64_t label;
} gd_detection;

/* Objects of the images of one call; free with gd_result_free. */
typedef struct gd_result gd_result;

/* As a threshold: the file's own value. */
#define GD_DEFAULT (-1.0F)

/* `images` may be null when count is 0. score, iou: 0..1 or GD_DEFAULT. `*out` is null on failure. */
GRAPHDET_C_API gd_status gd_engine_detect(const gd_engine* engine, const gd_image* images, size_t count, float score,
                                          float iou, gd_result** out);

/* --- detection on the engine's own threads */
typedef struct gd_job gd_job;

/* As gd_engine_detect, but returns when the work is in the engine's queue, which it waits for while the queue is full.
 * The pixels and proposals must stay as they are until the job is done. Every failure comes with gd_job_wait. */
GRAPHDET_C_API gd_status gd_engine_submit(const gd_engine* engine, const gd_image* images, size_t count, float score,
                                          float iou, gd_job** out);
/* Whether gd_job_wait would return at once: 1 or 0. */
GRAPHDET_C_API int32_t gd_job_done(const gd_job* job);
/* Waits for the job and hands out its result; once. `*out` is null on failure. */
GRAPHDET_C_API gd_status gd_job_wait(gd_job* job, gd_result** out);
/* Forgets the job, which is done nonetheless; null is allowed. */
GRAPHDET_C_API void gd_job_free(gd_job* job);
/* Work that waits fails with 412; returns when running work is done. gd_engine_free does the same first. */
GRAPHDET_C_API void gd_engine_close(const gd_engine* engine);

/* --- results */
GRAPHDET_C_API void gd_result_free(gd_result* result); /* null is allowed */
GRAPHDET_C_API size_t gd_result_images(const gd_result* result);
/* Objects of one image, best first, `*count` of them; valid as long as the result. Null when there are none. */
GRAPHDET_C_API const gd_detection* gd_result_objects(const gd_result* result, size_t image, size_t* count);
/* The mask of an object of a detector that predicts masks: `out` gets height * width bytes of 0 and 1, row by row. */
GRAPHDET_C_API gd_status gd_result_bitmap(const gd_result* result, size_t image, size_t object, uint8_t* out);

/* --- panoptic segments */
typedef struct gd_panoptic gd_panoptic;

typedef struct gd_segment {
    int32_t id;    /* of its pixels in the map */
    int32_t thing; /* 1: a countable thing, 0: stuff */
    int64_t label;
    int64_t area; /* pixels */
} gd_segment;

/* Gives each pixel of the images to a segment or to none; free with gd_panoptic_free. `*out` is null on failure. */
GRAPHDET_C_API gd_status gd_engine_panoptic(const gd_engine* engine, const gd_image* images, size_t count,
                                            gd_panoptic** out);
GRAPHDET_C_API void gd_panoptic_free(gd_panoptic* result); /* null is allowed */
/* The id of each pixel's segment, 0 for none: as many as the image has pixels, row by row; valid as long as the result.
 * Null where there is no such image. */
GRAPHDET_C_API const int32_t* gd_panoptic_map(const gd_panoptic* result, size_t image);
/* Segments of one image, `*count` of them; valid as long as the result. Null when there are none. */
GRAPHDET_C_API const gd_segment* gd_panoptic_segments(const gd_panoptic* result, size_t image, size_t* count);

#ifdef __cplusplus
}
#endif

#endif

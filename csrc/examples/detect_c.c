/* detect_c ENGINE.gdet [--masks FOLDER | --segments FOLDER] IMAGE.ppm...: the detections of up to 64 images by the C
 * interface alone, one a line. With --masks, writes the mask of each as FOLDER/<image>_<object>.pgm, both counted from 0.
 * With --segments, panoptic segments instead: id, class, 1 for things, pixels; their ids go to FOLDER/<image>.pgm. */
#include <graphdet/graphdet_c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A binary PPM file of 8 bits without comments. Returns its pixels, or null. */
static uint8_t* read_ppm(const char* path, gd_image* image) {
    long width = 0, height = 0;
    int depth = 0;
    uint8_t* pixels = NULL;
    FILE* file = fopen(path, "rb");
    if (file == NULL) return NULL;
    if (fscanf(file, "P6 %ld %ld %d", &width, &height, &depth) == 3 && fgetc(file) != EOF && depth == 255 &&
        width > 0 && height > 0 && width < 65536 && height < 65536) {
        const size_t size = (size_t)width * (size_t)height * 3;
        pixels = malloc(size);
        if (pixels != NULL && fread(pixels, 1, size, file) != size) {
            free(pixels);
            pixels = NULL;
        }
    }
    fclose(file);
    image->data = pixels;
    image->height = height;
    image->width = width;
    image->row_bytes = 0;
    image->channels = 3;
    image->order = GD_RGB;
    return pixels;
}

static void print(const gd_engine* engine, const gd_result* result) {
    size_t objects = 0, i = 0;
    const gd_detection* found = gd_result_objects(result, 0, &objects);
    for (i = 0; i < objects; ++i) {
        const char* name = gd_engine_class_name(engine, found[i].label);
        printf("%s %.9g %.9g %.9g %.9g %.9g\n", name != NULL ? name : "?", (double)found[i].score,
               (double)found[i].box[0], (double)found[i].box[1], (double)found[i].box[2], (double)found[i].box[3]);
    }
}

/* Writes the masks of image number `number`; 0 when all went well. */
static int write_masks(const gd_result* result, const gd_image* image, const char* folder, int number) {
    const size_t pixels = (size_t)image->height * (size_t)image->width;
    size_t objects = 0, i = 0, p = 0;
    int failed = 0;
    uint8_t* mask = malloc(pixels);
    (void)gd_result_objects(result, 0, &objects);
    for (i = 0; mask != NULL && !failed && i < objects; ++i) {
        char path[1024];
        FILE* file = NULL;
        if (gd_result_bitmap(result, 0, i, mask) != GD_OK) {
            fprintf(stderr, "detect_c: %s\n", gd_last_error());
            failed = 1;
            break;
        }
        for (p = 0; p < pixels; ++p) mask[p] = (uint8_t)(mask[p] * 255);
        snprintf(path, sizeof path, "%s/%d_%zu.pgm", folder, number, i);
        file = fopen(path, "wb");
        failed = file == NULL || fprintf(file, "P5\n%ld %ld\n255\n", (long)image->width, (long)image->height) < 0 ||
                 fwrite(mask, 1, pixels, file) != pixels;
        if (file != NULL) failed |= fclose(file) != 0;
        if (failed) fprintf(stderr, "detect_c: cannot write %s\n", path);
    }
    if (mask == NULL) fprintf(stderr, "detect_c: out of memory\n");
    free(mask);
    return failed || mask == NULL;
}

/* Prints the segments of image number `number` and writes their map, two bytes a pixel; 0 when all went well. */
static int write_segments(const gd_engine* engine, const gd_image* image, const char* folder, int number) {
    const size_t pixels = (size_t)image->height * (size_t)image->width;
    gd_panoptic* result = NULL;
    char path[1024];
    FILE* file = NULL;
    size_t count = 0, i = 0;
    int failed = 0;
    if (gd_engine_panoptic(engine, image, 1, &result) != GD_OK) {
        fprintf(stderr, "detect_c: %s\n", gd_last_error());
        return 1;
    }
    const gd_segment* found = gd_panoptic_segments(result, 0, &count);
    const int32_t* map = gd_panoptic_map(result, 0);
    for (i = 0; i < count; ++i) {
        const char* name = gd_engine_class_name(engine, found[i].label);
        printf("%ld %s %ld %ld\n", (long)found[i].id, name != NULL ? name : "?", (long)found[i].thing,
               (long)found[i].area);
    }
    snprintf(path, sizeof path, "%s/%d.pgm", folder, number);
    file = fopen(path, "wb");
    failed = file == NULL || fprintf(file, "P5\n%ld %ld\n65535\n", (long)image->width, (long)image->height) < 0;
    for (i = 0; !failed && i < pixels; ++i)
        failed = fputc(map[i] >> 8, file) == EOF || fputc(map[i] & 255, file) == EOF;
    if (file != NULL) failed |= fclose(file) != 0;
    if (failed) fprintf(stderr, "detect_c: cannot write %s\n", path);
    gd_panoptic_free(result);
    return failed;
}

int main(int count, char** words) {
    gd_engine* engine = NULL;
    const char *folder = NULL, *segments = NULL;
    gd_image images[64];
    int first = 2;
    uint8_t* pixels[64] = {NULL};
    gd_job* jobs[64] = {NULL};
    int i = 0, failed = 0;
    memset(images, 0, sizeof images);
    if (count > 3 && strcmp(words[2], "--masks") == 0) folder = words[3], first = 4;
    if (count > 3 && strcmp(words[2], "--segments") == 0) segments = words[3], first = 4;
    if (count < first + 1 || count > first + 64) {
        fprintf(stderr, "usage: detect_c ENGINE.gdet [--masks FOLDER | --segments FOLDER] IMAGE.ppm...\n");
        return 1;
    }
    failed = gd_engine_load(words[1], 1, &engine) != GD_OK;
    if (failed) fprintf(stderr, "detect_c: %s\n", gd_last_error());
    /* The engine works on the first image while the others are read. */
    for (i = 0; !failed && i < count - first; ++i) {
        pixels[i] = read_ppm(words[i + first], &images[i]);
        failed = pixels[i] == NULL;
        if (failed) {
            fprintf(stderr, "detect_c: cannot read %s\n", words[i + first]);
        } else if (segments != NULL) {
            failed = write_segments(engine, &images[i], segments, i);
        } else if (gd_engine_submit(engine, &images[i], 1, GD_DEFAULT, GD_DEFAULT, &jobs[i]) != GD_OK) {
            fprintf(stderr, "detect_c: %s\n", gd_last_error());
            failed = 1;
        }
    }
    for (i = 0; i < count - first && jobs[i] != NULL; ++i) {
        gd_result* result = NULL;
        if (gd_job_wait(jobs[i], &result) == GD_OK) {
            print(engine, result);
            if (folder != NULL) failed |= write_masks(result, &images[i], folder, i);
        } else {
            fprintf(stderr, "detect_c: %s\n", gd_last_error());
            failed = 1;
        }
        gd_result_free(result);
        gd_job_free(jobs[i]);
    }
    gd_engine_free(engine); /* before the pixels, which work in progress may read */
    for (i = 0; i < count - first; ++i) free(pixels[i]);
    return failed;
}

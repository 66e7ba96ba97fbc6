/* detect_c ENGINE.gdet IMAGE.ppm: the detections of one image by the C interface alone, one a line. */
#include <graphdet/graphdet_c.h>
#include <stdio.h>
#include <stdlib.h>

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

int main(int count, char** words) {
    gd_image image;
    gd_engine* engine = NULL;
    gd_result* result = NULL;
    uint8_t* pixels = NULL;
    int failed = 1;
    if (count != 3) {
        fprintf(stderr, "usage: detect_c ENGINE.gdet IMAGE.ppm\n");
        return 1;
    }
    pixels = read_ppm(words[2], &image);
    if (pixels == NULL) {
        fprintf(stderr, "detect_c: cannot read %s\n", words[2]);
    } else if (gd_engine_load(words[1], 1, &engine) != GD_OK ||
               gd_engine_detect(engine, &image, 1, GD_DEFAULT, GD_DEFAULT, &result) != GD_OK) {
        fprintf(stderr, "detect_c: %s\n", gd_last_error());
    } else {
        size_t objects = 0, i = 0;
        const gd_detection* found = gd_result_objects(result, 0, &objects);
        for (i = 0; i < objects; ++i) {
            const char* name = gd_engine_class_name(engine, found[i].label);
            printf("%s %.9g %.9g %.9g %.9g %.9g\n", name != NULL ? name : "?", (double)found[i].score,
                   (double)found[i].box[0], (double)found[i].box[1], (double)found[i].box[2], (double)found[i].box[3]);
        }
        failed = 0;
    }
    gd_result_free(result);
    gd_engine_free(engine);
    free(pixels);
    return failed;
}

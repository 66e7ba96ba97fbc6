// What all suppression kernels begin and end with: candidates in rank order, and padded rows of results.
#pragma once

#include "core/overlap.h"
#include "cuda/sort.h"

namespace graphdet::cuda {

// Operands of one batch, on the device.
struct Scene {
    const float* boxes;
    const float* scores;
    const std::int64_t* labels;
    std::int64_t images, rows;
    bool agnostic;

    __device__ bool rivals(std::int64_t a, std::int64_t b) const { return agnostic || labels[a] == labels[b]; }
};

// Outputs of one image.
struct Rows {
    float* boxes;
    float* scores;
    std::int64_t* labels;

    __device__ void put(std::int64_t at, const Scene& scene, std::int64_t from, float score) const {
        for (int i = 0; i < 4; ++i) boxes[4 * at + i] = scene.boxes[4 * from + i];
        scores[at] = score;
        labels[at] = scene.labels[from];
    }
    __device__ void clear(std::int64_t at) const {
        for (int i = 0; i < 4; ++i) boxes[4 * at + i] = 0.0F;
        scores[at] = 0.0F;
        labels[at] = -1;
    }
};

// Outputs of the batch: `room` rows an image.
struct Results {
    float* boxes;
    float* scores;
    std::int64_t* labels;
    std::int64_t* count;
    std::int64_t room;

    explicit Results(const TensorView* outputs)
        : boxes(outputs[0].f32_out()),
          scores(outputs[1].f32_out()),
          labels(outputs[2].i64_out()),
          count(outputs[3].i64_out()),
          room(outputs[1].dims[1]) {}

    __device__ Rows of(std::int64_t image) const {
        return {boxes + 4 * image * room, scores + image * room, labels + image * room};
    }
};

template <class Args>
Scene scene_of(const Args& args) {
    return {args.boxes.f32(),   args.scores.f32(),  args.labels.i64(),
            args.boxes.dims[0], args.boxes.dims[1], args.agnostic};
}

// keys[images, room_to_sort(rows)]: candidates of each image best first, then `kNoKey`. An index counts within its image.
inline void rank_candidates(const Device& device, const Scene& scene, float threshold, RankKey* keys) {
    const std::int64_t length = room_to_sort(scene.rows);
    for_each(device, scene.images * length, [=] __device__(std::int64_t at) {
        const std::int64_t row = at % length, i = at / length * scene.rows + row;
        const bool good = row < scene.rows && is_candidate(scene.boxes + 4 * i, scene.scores[i], threshold);
        keys[at] = good ? rank_key(scene.scores[i], row) : kNoKey;
    });
    sort_keys(device, keys, scene.images, length);
}

}  // namespace graphdet::cuda

// A bounded queue of jobs and the threads that do them.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "core/status.h"

namespace graphdet {

class Queue {
  public:
    // Called once: with true to do the work, or with false when the queue was closed before its turn. Must not throw.
    using Job = std::function<void(bool go)>;

    // workers, capacity >= 1. Threads are started with the first jobs.
    Queue(std::size_t workers, std::size_t capacity);
    ~Queue();
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;

    // Takes the job, waiting for room as long as it must: at most `capacity` jobs wait beside those that run. Fails with
    // engine_closed, and then the job is not called.
    Status push(Job job);

    // The same, but gives up after `patience`: false when there was no room, and `job` is as it was.
    Result<bool> push_within(Job& job, std::chrono::milliseconds patience);

    // Refuses further jobs, calls those that wait with false, and returns when those that run are done. A job may call
    // this too; then its own end is not waited for. Later calls do nothing.
    void close();

  private:
    struct State {
        std::mutex mutex;
        std::condition_variable room, work;
        std::deque<Job> jobs;
        std::size_t idle = 0;  // threads that wait for work
        bool closed = false;
    };

    static void serve(State& state);
    Status start_thread();

    const std::size_t workers_, capacity_;
    std::shared_ptr<State> state_;  // shared with the threads, one of which may outlive the queue
    std::vector<std::thread> threads_;
};

}  // namespace graphdet

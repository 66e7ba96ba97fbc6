#include "engine/queue.h"

#include <utility>

#include "engine/guard.h"

namespace graphdet {

Queue::Queue(std::size_t workers, std::size_t capacity)
    : workers_(workers), capacity_(capacity), state_(std::make_shared<State>()) {}

Queue::~Queue() { close(); }

Status Queue::push(Job job) {
    for (;;) {
        const auto taken = push_within(job, std::chrono::hours(1));
        GD_CHECK(taken.status());
        if (*taken) return Status();
    }
}

Result<bool> Queue::push_within(Job& job, std::chrono::milliseconds patience) {
    std::unique_lock<std::mutex> lock(state_->mutex);
    const auto free = [&] { return state_->closed || state_->jobs.size() < capacity_; };
    if (!state_->room.wait_for(lock, patience, free)) return false;
    if (state_->closed) return Status(Code::engine_closed, "the engine was closed and takes no more work");
    if (state_->idle <= state_->jobs.size() && threads_.size() < workers_) GD_CHECK(start_thread());
    state_->jobs.push_back(std::move(job));
    state_->work.notify_one();
    return true;
}

Status Queue::start_thread() {
    return guarded([&] {
        threads_.emplace_back([state = state_] { serve(*state); });
        return Status();
    });
}

void Queue::serve(State& state) {
    std::unique_lock<std::mutex> lock(state.mutex);
    for (;;) {
        ++state.idle;
        state.work.wait(lock, [&] { return state.closed || !state.jobs.empty(); });
        --state.idle;
        if (state.closed) return;
        {
            const Job job = std::move(state.jobs.front());
            state.jobs.pop_front();
            state.room.notify_one();
            lock.unlock();
            job(true);
        }  // the job is gone before the lock is taken: what it holds may be anything
        lock.lock();
    }
}

void Queue::close() {
    std::deque<Job> left;
    std::vector<std::thread> threads;
    {
        const std::lock_guard<std::mutex> lock(state_->mutex);
        state_->closed = true;
        left.swap(state_->jobs);
        threads.swap(threads_);
    }
    state_->work.notify_all();
    state_->room.notify_all();
    for (const Job& job : left) job(false);
    left.clear();
    for (std::thread& thread : threads) {
        if (thread.get_id() == std::this_thread::get_id()) {
            thread.detach();
        } else {
            thread.join();
        }
    }
}

}  // namespace graphdet

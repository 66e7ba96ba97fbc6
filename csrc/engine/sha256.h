// SHA-256 (FIPS 180-4), incremental, so that a blob is hashed while it is read.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace graphdet {

using Digest = std::array<std::uint8_t, 32>;

class Sha256 {
  public:
    void add(const void* data, std::size_t size);
    // The digest of all that was added. The object must not be used again.
    [[nodiscard]] Digest finish();

  private:
    void block(const std::uint8_t* bytes);

    std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                           0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<std::uint8_t, 64> pending_ = {};
    std::size_t filled_ = 0;
    std::uint64_t total_ = 0;  // bytes
};

[[nodiscard]] Digest sha256(const void* data, std::size_t size);

// 64 lower-case hexadecimal digits.
[[nodiscard]] std::string hex(const Digest& digest);

}  // namespace graphdet

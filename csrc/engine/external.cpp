#include "engine/external.h"

#include <cstdint>

namespace graphdet {

namespace {

enum class Message : std::uint8_t { none, model, training, graph, function, node, attribute, sparse, tensor };

constexpr int kDepth = 100;                                         // protobuf's own limit
constexpr std::uint64_t kExternalData = 13, kDataLocation = 14;     // fields of a tensor
constexpr int kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;  // wire types

// The message in a field, from onnx.proto; only paths that lead to tensors.
Message inside(Message message, std::uint64_t field) {
    switch (message) {
        case Message::model:
            return field == 7    ? Message::graph
                   : field == 20 ? Message::training
                   : field == 25 ? Message::function
                                 : Message::none;
        case Message::training: return field == 1 || field == 2 ? Message::graph : Message::none;
        case Message::graph:
            return field == 1    ? Message::node
                   : field == 5  ? Message::tensor
                   : field == 15 ? Message::sparse
                                 : Message::none;
        case Message::function: return field == 7 ? Message::node : field == 11 ? Message::attribute : Message::none;
        case Message::node: return field == 5 ? Message::attribute : Message::none;
        case Message::attribute:
            if (field == 5 || field == 10) return Message::tensor;
            if (field == 6 || field == 11) return Message::graph;
            return field == 22 || field == 23 ? Message::sparse : Message::none;
        case Message::sparse: return field == 1 || field == 2 ? Message::tensor : Message::none;
        default: return Message::none;
    }
}

Status wrong(const char* text) { return Status(Code::corrupt_artefact, text); }

// Takes a varint off the front of `data`; false when it does not end.
bool take_varint(std::string_view& data, std::uint64_t& value) {
    value = 0;
    for (std::size_t i = 0; i < 10 && i < data.size(); ++i) {
        const auto byte = static_cast<std::uint8_t>(data[i]);
        if (i == 9 && (byte & 0x7F) > 1) return false;  // more than 64 bits
        value |= std::uint64_t{byte & 0x7FU} << (7 * i);
        if (byte < 0x80) {
            data.remove_prefix(i + 1);
            return true;
        }
    }
    return false;
}

Status walk(std::string_view data, Message message, int depth) {
    if (depth > kDepth) return wrong("the ONNX model is nested too deeply");
    while (!data.empty()) {
        std::uint64_t tag = 0, value = 0;
        if (!take_varint(data, tag)) return wrong("not an ONNX model: a number does not end");
        // Parsers disagree on such tags, so nothing can hide behind one.
        if (tag >> 32 != 0) return wrong("not an ONNX model: a field number is too large");
        const std::uint64_t field = tag >> 3;
        const int wire = static_cast<int>(tag & 7);
        if (wire == kVarint || wire == kBytes) {
            if (!take_varint(data, value)) return wrong("not an ONNX model: a number does not end");
        } else if (wire != kFixed64 && wire != kFixed32) {
            return wrong("not an ONNX model: an unknown wire type");
        }
        const std::uint64_t size = wire == kVarint ? 0 : wire == kBytes ? value : wire == kFixed64 ? 8 : 4;
        if (size > data.size()) return wrong("not an ONNX model: a field is longer than its message");
        const std::uint64_t content = wire == kVarint ? value : size;
        if (message == Message::tensor && (field == kExternalData || (field == kDataLocation && content != 0))) {
            return wrong("the ONNX model keeps tensor data in another file");
        }
        const Message next = wire == kBytes ? inside(message, field) : Message::none;
        if (next != Message::none) GD_CHECK(walk(data.substr(0, static_cast<std::size_t>(size)), next, depth + 1));
        data.remove_prefix(static_cast<std::size_t>(size));
    }
    return Status();
}

}  // namespace

Status refuse_external_data(std::string_view model) { return walk(model, Message::model, 0); }

}  // namespace graphdet

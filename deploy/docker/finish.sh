#!/bin/sh
# Finishes the image's virtual environment: drops what a server on Linux never loads, and compiles the rest, as nothing
# can be written where it runs.
set -eu
packages=$(echo "$1"/lib/python*/site-packages)

# OpenVINO runs on CPUs here, from ONNX and its own format. Its other plugins and front ends load by name, if at all.
openvino=$packages/openvino/libs
rm -f "$openvino"/libopenvino_intel_gpu_plugin.so "$openvino"/libopenvino_intel_npu_plugin.so "$openvino"/cache.json
for frontend in tensorflow tensorflow_lite pytorch paddle jax gguf; do
    rm -f "$openvino/libopenvino_${frontend}_frontend.so".*
done
# Tests of numpy and onnx with their data, C++ sources and headers, type stubs: 42 MB that no import reads.
find "$packages/numpy" -type d -name tests -prune -exec rm -r {} +
rm -r "$packages/openvino/include" "$packages/openvino/cmake"
find "$packages" -name '*.pyi' -delete
if [ -d "$packages/onnxruntime" ]; then
    rm -r "$packages/onnx/backend/test"
    find "$packages/onnx" \( -name '*.h' -o -name '*.cc' -o -name '*.proto' \) -delete
    # Its Python module holds the whole runtime; the library beside it is for programs in C. What remains are tools that
    # change other models: for transformers, quantisation and phones.
    rm "$packages"/onnxruntime/capi/libonnxruntime.so*
    rm -r "$packages/onnxruntime/transformers" "$packages/onnxruntime/quantization" "$packages/onnxruntime/tools"
fi
# These come with debug information, 24 MB.
python "$(dirname "$0")/strip_debug.py" "$packages/uvloop" "$packages/sqlalchemy" "$packages/aiohttp"
# What an import makes lasts, so that to search it for garbage every 700 objects only makes the start longer. The same
# threshold as a worker has once it serves (bento_service/worker/tuning.py).
echo 'import gc; gc.set_threshold(20_000)' >"$packages/lightbox-gc.pth"
# uv's lock on the environment, which anybody may write.
rm -f "$1/.lock"
# Bytecode without time stamps, and files of one age: built again, the layer has the same digest. Some packages hold
# files for another Python, which cannot be compiled and are never loaded.
python -m compileall -qq -j 0 --invalidation-mode unchecked-hash "$packages" || true
find "$1" -exec touch --no-dereference --date=@0 {} +

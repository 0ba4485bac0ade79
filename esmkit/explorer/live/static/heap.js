"use strict";
// The memory of the engine: weights unpacked into it once, then room for one run after the other.

(function (live) {
  const PAGE = 65536; // bytes by which a memory of WebAssembly grows
  const ALIGNMENT = 16;
  const PANEL = 8;

  /** Memory of WebAssembly with the kernel's functions, or null and why there is none. */
  function compiled(kernel) {
    if (!kernel) return { why: "there is no kernel" };
    if (typeof WebAssembly === "undefined") return { why: "this browser has no WebAssembly" };
    try {
      const { exports } = new WebAssembly.Instance(new WebAssembly.Module(kernel), {});
      return { exports };
    } catch (error) {
      return { why: `this browser refuses WebAssembly: ${error.message}` };
    }
  }

  /** A heap that grows, with `floats` over all of it, and the kernel that works on it. */
  live.createHeap = function (kernel) {
    const { exports, why } = compiled(kernel);
    const heap = { kind: exports ? "wasm" : "javascript", why: why || "", floats: null };
    let buffer = exports ? exports.memory.buffer : new ArrayBuffer(PAGE);
    let top = exports ? exports.__heap_base.value : ALIGNMENT;
    heap.floats = new Float32Array(buffer);
    heap.kernel = exports || live.plainKernel(heap);

    function grow(bytes) {
      if (bytes <= buffer.byteLength) return;
      if (exports) {
        exports.memory.grow(Math.ceil((bytes - buffer.byteLength) / PAGE));
        buffer = exports.memory.buffer;
      } else {
        const larger = new ArrayBuffer(Math.ceil(bytes / PAGE) * PAGE);
        new Uint8Array(larger).set(new Uint8Array(buffer));
        buffer = larger;
      }
      heap.floats = new Float32Array(buffer);
    }

    /** Room for so many floats, as a pointer; what is in it is not 0. */
    heap.take = function (count) {
      const pointer = Math.ceil(top / ALIGNMENT) * ALIGNMENT;
      top = pointer + 4 * count;
      grow(top);
      return pointer;
    };

    heap.mark = () => top;
    heap.release = (mark) => (top = mark);
    heap.reserve = grow;
    heap.view = (pointer, count) => heap.floats.subarray(pointer >> 2, (pointer >> 2) + count);
    heap.copy = (pointer, count) => heap.view(pointer, count).slice();
    heap.put = function (values) {
      const pointer = heap.take(values.length);
      heap.floats.set(values, pointer >> 2);
      return pointer;
    };
    Object.defineProperty(heap, "bytes", { get: () => buffer.byteLength });
    return heap;
  };

  /** Values of a tensor of the manifest: float32, rows one after the other. */
  live.tensorOf = function (manifest, weights, name) {
    const tensor = manifest.tensors[name];
    const size = tensor.shape.reduce((a, b) => a * b, 1);
    if (tensor.bits === 32) return new Float32Array(weights, tensor.offset, size);
    const codes = live.codesOf(weights, tensor, size);
    const [rows, columns] = tensor.shape;
    const scales = new Float32Array(weights, tensor.scales, rows);
    const values = new Float32Array(size);
    for (let row = 0, at = 0; row < rows; row++) {
      for (let end = at + columns; at < end; at++) values[at] = codes[at] * scales[row];
    }
    return values;
  };

  /** Integers of 8, 16 or 24 bits, little-endian. */
  live.codesOf = function (weights, { offset, bits }, size) {
    if (bits === 16) return new Int16Array(weights, offset, size);
    if (bits === 8) return new Int8Array(weights, offset, size);
    const bytes = new Uint8Array(weights, offset, 3 * size);
    const codes = new Int32Array(size);
    for (let i = 0, at = 0; i < size; i++, at += 3) {
      codes[i] = ((bytes[at] << 8) | (bytes[at + 1] << 16) | (bytes[at + 2] << 24)) >> 8;
    }
    return codes;
  };

  /** Put a matrix into the heap in panels of 8 rows, as `linear` reads it. */
  live.putPanels = function (heap, values, rows, columns) {
    const pointer = heap.take(((rows + PANEL - 1) & ~(PANEL - 1)) * columns);
    const f = heap.floats;
    for (let first = 0; first < rows; first += PANEL) {
      const panel = (pointer >> 2) + first * columns;
      for (let lane = 0; lane < PANEL; lane++) {
        const row = (first + lane) * columns;
        const inside = first + lane < rows;
        for (let c = 0; c < columns; c++) f[panel + c * PANEL + lane] = inside ? values[row + c] : 0;
      }
    }
    return pointer;
  };
})(globalThis.esmkitLive);

// Pictures to samples: Pillow's bilinear scaling of 8-bit pixels in its own whole numbers, then normalization in float32
// with each operation rounded by itself, as NumPy does it. The same bytes as on the processor, whatever the GPU.
//
// A parcel is 32-bit words: the settings, a description of each picture, and what these point to, counted in words from
// the parcel's beginning. scaling.py packs it.

#define BITS 22  // of a weight's fraction: 32, less 8 of a value, less 2 of headroom

struct Settings {
    int height, width;  // of a sample
    int planar;         // channels first
    int floats;         // normalize to float32; else bytes
    int order[3];       // which channel of the picture becomes which of the sample
    int fill[3];        // around the picture
    float factor[3], offset[3];
};

struct Picture {
    int pixels, columns, rows;  // 4 bytes each: red, green, blue, and one that means nothing
    int scratch;                // what comes between the two passes
    int tables;                 // across: first pixel and count, then weights, of each pixel that is made; likewise down
    int wide, high;             // what is made
    int across, down;           // room for weights, per pixel
    int top, left;              // where it goes in the sample
    int down_first;             // the order of the passes
    int unused[4];
};

__device__ const Picture& picture(const int* parcel) {
    return reinterpret_cast<const Picture*>(parcel + sizeof(Settings) / 4)[blockIdx.z];
}

// Pixel `at` of a line of pixels that lie `step` apart, scaled to `count` pixels: all three channels at once.
__device__ unsigned scaled(const unsigned* line, int step, const int* spans, int count, int room, int at) {
    const int *weights = spans + 2 * count + at * room, taps = spans[2 * at + 1];
    line += spans[2 * at] * step;
    int red = 1 << (BITS - 1), green = red, blue = red;
    for (int tap = 0; tap < taps; ++tap) {
        unsigned pixel = line[tap * step];
        int weight = weights[tap];
        red += static_cast<int>(pixel & 255) * weight;
        green += static_cast<int>(pixel >> 8 & 255) * weight;
        blue += static_cast<int>(pixel >> 16 & 255) * weight;
    }
    return min(red >> BITS, 255) | min(green >> BITS, 255) << 8 | min(blue >> BITS, 255) << 16;
}

__device__ unsigned scaled_across(const Picture& p, const int* parcel, const unsigned* row, int column) {
    return scaled(row, 1, parcel + p.tables, p.wide, p.across, column);
}

__device__ unsigned scaled_down(const Picture& p, const int* parcel, const unsigned* column, int width, int line) {
    return scaled(column, width, parcel + p.tables + (2 + p.across) * p.wide, p.high, p.down, line);
}

extern "C" __global__ void first(int* parcel, void*) {
    const Picture& p = picture(parcel);
    int width = p.down_first ? p.columns : p.wide, height = p.down_first ? p.high : p.rows;
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= width || y >= height) return;
    const unsigned* pixels = reinterpret_cast<unsigned*>(parcel) + p.pixels;
    parcel[p.scratch + y * width + x] = p.down_first ? scaled_down(p, parcel, pixels + x, p.columns, y)
                                                     : scaled_across(p, parcel, pixels + y * p.columns, x);
}

extern "C" __global__ void second(const int* parcel, void* samples) {
    const Settings& s = *reinterpret_cast<const Settings*>(parcel);
    const Picture& p = picture(parcel);
    int x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y;
    if (x >= s.width || y >= s.height) return;
    int column = x - p.left, line = y - p.top;
    unsigned pixel = s.fill[0] | s.fill[1] << 8 | s.fill[2] << 16;
    if (column >= 0 && column < p.wide && line >= 0 && line < p.high) {
        const unsigned* scratch = reinterpret_cast<const unsigned*>(parcel) + p.scratch;
        pixel = p.down_first ? scaled_across(p, parcel, scratch + line * p.columns, column)
                             : scaled_down(p, parcel, scratch + column, p.wide, line);
    }
    for (int channel = 0; channel < 3; ++channel) {
        size_t at = s.planar ? ((blockIdx.z * size_t(3) + channel) * s.height + y) * s.width + x
                             : ((blockIdx.z * size_t(s.height) + y) * s.width + x) * 3 + channel;
        unsigned value = pixel >> 8 * s.order[channel] & 255;
        if (s.floats)
            static_cast<float*>(samples)[at] =
                __fsub_rn(__fmul_rn(static_cast<float>(value), s.factor[channel]), s.offset[channel]);
        else
            static_cast<unsigned char*>(samples)[at] = value;
    }
}

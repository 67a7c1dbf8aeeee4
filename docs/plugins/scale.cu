// The operator my.domain::Scale as a compiled plugin: y = factor x, float32, any shape.
// scripts/compile_plugin.py docs/plugins/scale.cu -o libscale.so

#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <cstdint>
#include <cstring>

using namespace nvinfer1;

namespace scale_plugin
{
char const* const kNAME = "Scale";
char const* const kVERSION = "1";
char const* const kSPACE = "";

__global__ void scale(float const* x, float* y, float factor, int64_t count)
{
    int64_t const step = static_cast<int64_t>(gridDim.x) * blockDim.x;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step)
    {
        y[i] = factor * x[i];
    }
}

class Scale : public IPluginV3, public IPluginV3OneCore, public IPluginV3OneBuild, public IPluginV3OneRuntime
{
public:
    explicit Scale(float factor) : mFactor(factor) {}

    IPluginCapability* getCapabilityInterface(PluginCapabilityType type) noexcept override
    {
        switch (type)
        {
        case PluginCapabilityType::kCORE: return static_cast<IPluginV3OneCore*>(this);
        case PluginCapabilityType::kBUILD: return static_cast<IPluginV3OneBuild*>(this);
        case PluginCapabilityType::kRUNTIME: return static_cast<IPluginV3OneRuntime*>(this);
        }
        return nullptr;
    }

    IPluginV3* clone() noexcept override { return new Scale(mFactor); }
    char const* getPluginName() const noexcept override { return kNAME; }
    char const* getPluginVersion() const noexcept override { return kVERSION; }
    char const* getPluginNamespace() const noexcept override { return kSPACE; }

    int32_t getNbOutputs() const noexcept override { return 1; }

    int32_t getOutputDataTypes(
        DataType* outputs, int32_t, DataType const* inputs, int32_t) const noexcept override
    {
        outputs[0] = inputs[0];
        return 0;
    }

    int32_t getOutputShapes(DimsExprs const* inputs, int32_t, DimsExprs const*, int32_t, DimsExprs* outputs, int32_t,
        IExprBuilder&) noexcept override
    {
        outputs[0] = inputs[0];
        return 0;
    }

    bool supportsFormatCombination(
        int32_t position, DynamicPluginTensorDesc const* tensors, int32_t, int32_t) noexcept override
    {
        PluginTensorDesc const& tensor = tensors[position].desc;
        return tensor.type == DataType::kFLOAT && tensor.format == TensorFormat::kLINEAR;
    }

    int32_t configurePlugin(
        DynamicPluginTensorDesc const*, int32_t, DynamicPluginTensorDesc const*, int32_t) noexcept override
    {
        return 0;
    }

    int32_t onShapeChange(PluginTensorDesc const*, int32_t, PluginTensorDesc const*, int32_t) noexcept override
    {
        return 0;
    }

    int32_t enqueue(PluginTensorDesc const* inputs, PluginTensorDesc const*, void const* const* from, void* const* to,
        void*, cudaStream_t stream) noexcept override
    {
        int64_t count = 1;
        for (int32_t axis = 0; axis < inputs[0].dims.nbDims; ++axis)
        {
            count *= inputs[0].dims.d[axis];
        }
        int32_t const blocks = static_cast<int32_t>(count / 256 < 4096 ? count / 256 + 1 : 4096);
        scale<<<blocks, 256, 0, stream>>>(
            static_cast<float const*>(from[0]), static_cast<float*>(to[0]), mFactor, count);
        return cudaGetLastError() == cudaSuccess ? 0 : 1;
    }

    IPluginV3* attachToContext(IPluginResourceContext*) noexcept override { return clone(); }

    PluginFieldCollection const* getFieldsToSerialize() noexcept override
    {
        mField = PluginField("factor", &mFactor, PluginFieldType::kFLOAT32, 1);
        mFields = PluginFieldCollection{1, &mField};
        return &mFields;
    }

private:
    float mFactor;
    PluginField mField{};
    PluginFieldCollection mFields{};
};

class ScaleCreator : public IPluginCreatorV3One
{
public:
    IPluginV3* createPlugin(char const*, PluginFieldCollection const* fields, TensorRTPhase) noexcept override
    {
        float factor = 1.0F;
        for (int32_t i = 0; i < fields->nbFields; ++i)
        {
            if (std::strcmp(fields->fields[i].name, "factor") == 0)
            {
                factor = *static_cast<float const*>(fields->fields[i].data);
            }
        }
        return new Scale(factor);
    }

    PluginFieldCollection const* getFieldNames() noexcept override { return &mFields; }
    char const* getPluginName() const noexcept override { return kNAME; }
    char const* getPluginVersion() const noexcept override { return kVERSION; }
    char const* getPluginNamespace() const noexcept override { return kSPACE; }

private:
    PluginField mField{"factor", nullptr, PluginFieldType::kFLOAT32, 1};
    PluginFieldCollection mFields{1, &mField};
};
} // namespace scale_plugin

extern "C" IPluginCreatorInterface* const* getCreators(int32_t& count)
{
    static scale_plugin::ScaleCreator creator;
    static IPluginCreatorInterface* const all[] = {&creator};
    count = 1;
    return all;
}

extern "C" void setLoggerFinder(ILoggerFinder*) {}

// The device "fake": memory on the host with a limit, in which each operator runs the CPU's kernel on copies.
// Tensors of two devices in one operator raise as on CUDA.
#include <ATen/EmptyTensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty_strided.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

namespace {
using at::IntArrayRef, at::ScalarType, at::Tensor, c10::Device, c10::DeviceIndex;
constexpr auto FAKE = c10::DeviceType::PrivateUse1;
constexpr c10::DispatchKeySet KEYS(c10::DispatchKey::PrivateUse1);
constexpr DeviceIndex DEVICES = 2;

std::atomic<int64_t> used{0}, peak{0}, limit{INT64_MAX}, reads{0}, uploads{0}, kernels{0};
std::atomic<bool> has_float64{true};
std::string unsupported;  // an operator that raises
thread_local DeviceIndex current = 0;
thread_local bool inside = false;  // an operator, whose copies to the CPU are no reads

const std::unordered_set<std::string> READING{  // operators for whose result the host waits on CUDA
    "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::unique_dim",
    "aten::_unique2", "aten::_linalg_eigh"};

struct Block {
  void* data;
  int64_t bytes;
  ~Block() { used -= bytes; std::free(data); }
};

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t n) override {
    const auto bytes = static_cast<int64_t>(n);
    TORCH_CHECK_WITH(OutOfMemoryError, used + bytes <= limit, "fake out of memory: ", bytes, " bytes beside ",
                     used.load(), " of ", limit.load());
    used += bytes;
    peak = std::max(peak.load(), used.load());
    void* data = std::aligned_alloc(64, (n + 127) & ~size_t{63});
    std::memset(data, 0x7f, n);  // an uninitialised value shows: 3e38 in float32
    return {data, new Block{data, bytes}, [](void* block) { delete static_cast<Block*>(block); }, Device(FAKE, current)};
  }
  void copy_data(void* to, const void* from, size_t n) const override { default_copy_data(to, from, n); }
} allocator;
REGISTER_ALLOCATOR(FAKE, &allocator);

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override { return FAKE; }
  Device getDevice() const override { return {FAKE, current}; }
  void uncheckedSetDevice(Device device) const noexcept override { if (device.has_index()) current = device.index(); }
  void setDevice(Device device) const override {
    TORCH_CHECK(device.index() < DEVICES, "invalid device ordinal");
    uncheckedSetDevice(device);
  }
  Device exchangeDevice(Device device) const override { auto old = getDevice(); setDevice(device); return old; }
  c10::Stream getStream(Device device) const override { return c10::Stream(c10::Stream::DEFAULT, device); }
  c10::Stream exchangeStream(c10::Stream stream) const override { return stream; }
  DeviceIndex deviceCount() const noexcept override { return DEVICES; }
  // Work is done when its call returns; backward passes over two devices use events.
  void record(void**, const c10::Stream&, const DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  void destroyEvent(void*, const DeviceIndex) const noexcept override {}
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(DeviceIndex) const override { return true; }
  c10::Allocator* getPinnedMemoryAllocator() const override { return c10::GetCPUAllocator(); }
};

bool is_fake(const Tensor& tensor) { return tensor.device().type() == FAKE; }

c10::DeviceGuard guard_for(std::optional<ScalarType> type, std::optional<Device> device) {
  TORCH_CHECK_TYPE(has_float64 || c10::dtype_or_default(type) != at::kDouble, "the fake device has no float64");
  return c10::DeviceGuard(device.value_or(Device(FAKE, current)));
}

Tensor empty(IntArrayRef size, std::optional<ScalarType> type, std::optional<c10::Layout>, std::optional<Device> device,
             std::optional<bool>, std::optional<c10::MemoryFormat> format) {
  auto guard = guard_for(type, device);
  return at::detail::empty_generic(size, &allocator, KEYS, c10::dtype_or_default(type), format);
}

Tensor empty_strided(IntArrayRef size, IntArrayRef stride, std::optional<ScalarType> type, std::optional<c10::Layout>,
                     std::optional<Device> device, std::optional<bool>) {
  auto guard = guard_for(type, device);
  return at::detail::empty_strided_generic(size, stride, &allocator, KEYS, c10::dtype_or_default(type));
}

const Tensor& resize_(const Tensor& self, c10::SymIntArrayRef size, std::optional<c10::MemoryFormat> format) {
  c10::DeviceGuard guard(self.device());
  return at::native::resize_(self, C10_AS_INTARRAYREF_SLOW(size), format);
}

Tensor on_cpu(const Tensor& tensor) {  // the same memory
  if (!is_fake(tensor)) return tensor;
  auto options = tensor.options().device(at::kCPU);
  return tensor.numel() ? at::from_blob(tensor.data_ptr(), tensor.sizes(), tensor.strides(), options)
                        : at::empty_strided(tensor.sizes(), tensor.strides(), options);
}

Tensor copy_from(const Tensor& from, const Tensor& to, bool non_blocking) {
  if (!inside) {
    if (is_fake(to) && is_fake(from)) ++kernels;
    else if (!non_blocking && to.numel()) ++(is_fake(to) ? uploads : reads);
  }
  at::AutoDispatchBelowADInplaceOrView below;
  if (to.numel()) on_cpu(to).copy_(on_cpu(from));
  return to;
}

Tensor copy_from_and_resize(const Tensor& from, const Tensor& to) {
  if (to.sizes() != from.sizes()) to.resize_(from.sizes());
  return copy_from(from, to, false);
}

void fallback(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  const auto name = op.schema().name();
  TORCH_CHECK_NOT_IMPLEMENTED(name != unsupported, name, " is not implemented for the fake device");
  std::optional<Device> device;
  auto check = [&](const Tensor& tensor) {
    if (!tensor.defined() || (tensor.is_cpu() && tensor.dim() == 0)) return;  // numbers may be on the CPU
    if (!device) device = tensor.device();
    TORCH_CHECK(tensor.device() == *device, "Expected all tensors to be on the same device, but found at least two ",
                "devices, ", *device, " and ", tensor.device(), " (when calling ", name, ")");
  };
  bool waits = READING.count(name) > 0;
  for (const auto& value : torch::jit::last(*stack, op.schema().arguments().size())) {
    if (value.isTensor()) check(value.toTensor());
    if (value.isTensorList()) for (const Tensor& one : value.toTensorVector()) check(one);
    if (value.isOptionalTensorList())
      for (const std::optional<Tensor>& one : value.toOptionalTensorVector()) {
        if (!one || !one->defined()) continue;
        if (!one->is_cpu()) check(*one);  // indices may be on the CPU
        else ++uploads;
        waits |= one->scalar_type() == at::kBool;
      }
    TORCH_CHECK(!value.isGenerator() || value.toGenerator().device().type() == FAKE,
                "Expected a 'fake' device type for generator but found 'cpu' (when calling ", name, ")");
  }
  if (waits) ++reads;
  if (!inside) ++kernels;
  const bool outer = std::exchange(inside, true);
  try {
    at::native::cpu_fallback(op, stack, /*error_on_views=*/true);
  } catch (...) {
    inside = outer;
    throw;
  }
  inside = outer;
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) { m.fallback(torch::CppFunction::makeFromBoxedFunction<&fallback>()); }

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("empty.memory_format", empty);
  m.impl("empty_strided", empty_strided);
  m.impl("resize_", resize_);
  m.impl("_copy_from", copy_from);
  m.impl("_copy_from_and_resize", copy_from_and_resize);
  m.impl("as_strided", at::native::as_strided_tensorimpl);
  m.impl("view", at::native::view);
  m.impl("_reshape_alias", at::native::_reshape_alias);
  m.impl("unfold", at::native::unfold);
  m.impl("set_.source_Storage", [](Tensor& self, at::Storage source) -> Tensor& { return at::native::set_(self, source); });
  m.impl("set_.source_Storage_storage_offset", at::native::set_storage_cpu_);
}

TORCH_LIBRARY(fake_device, m) {
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  m.def("limit_memory", [](int64_t bytes) { limit = bytes; });
  m.def("used", []() -> int64_t { return used; });
  m.def("peak", []() -> int64_t { return peak; });
  m.def("reset_peak", []() { peak = used.load(); });
  m.def("reads", []() -> int64_t { return reads; });
  m.def("uploads", []() -> int64_t { return uploads; });
  m.def("kernels", []() -> int64_t { return kernels; });
  m.def("set_float64", [](bool supported) { has_float64 = supported; });
  m.def("set_unsupported", [](std::string name) { unsupported = std::move(name); });
  m.def("current", []() -> int64_t { return current; });
  m.def("set_current", [](int64_t index) { Guard().setDevice(Device(FAKE, static_cast<DeviceIndex>(index))); });
}
}  // namespace

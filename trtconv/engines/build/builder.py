"""From a typed ONNX file to a plan: one code path for TensorRT and TensorRT-RTX, differences by capability."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtconv.adapters import cuda_driver, tensorrt
from trtconv.adapters.tensorrt import Loaded
from trtconv.adapters.tensorrt_api import TrtBuilder, TrtIBuilderConfig, TrtILogger, TrtOnnxParser
from trtconv.adapters.tensorrt_network_api import TrtINetworkDefinition, TrtITensor
from trtconv.adapters.tensorrt_rtx_api import with_targets
from trtconv.core import files, own_heap
from trtconv.core.errors import BuildError, EnvironmentProblem, UsageError
from trtconv.core.events import Emit, Message, Progress
from trtconv.engines.build import choices, mapped_model, messages, plan_file, profiles, workarounds
from trtconv.engines.build.choices import Options
from trtconv.engines.build.mapped_model import MappedModel
from trtconv.engines.build.messages import Log
from trtconv.engines.plan import dtypes

if TYPE_CHECKING:
    from trtconv.engines.build import plugins

_EVERY = 0.1  # seconds between two progress events at least


@dataclass(frozen=True)
class Plan:
    """A built engine.

    Attributes:
        size: of its file, in bytes.
        sha256: of its file.
        layers: of the network as parsed.
        dtypes: ONNX type of every input and output, as the engine has it.
        warnings: of the parser and the builder, without noise.
        plugins: of each that was loaded, its creators and the nodes that it is for.
        memory: peak of the process that built it, in bytes; 0: this process did.
    """

    size: int
    sha256: str
    layers: int
    dtypes: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    plugins: tuple[Mapping[str, Any], ...] = ()
    memory: int = 0


def build(loaded: Loaded, model: Path, file: Path, options: Options, emit: Emit) -> Plan:
    """Parse a model, build its plan and write that to a file.

    Raises:
        BuildError: TensorRT refuses the model; the message names the node where TensorRT does.
        UsageError: an unknown target.
        EnvironmentProblem: the builder does not start.
        OSError: the plan cannot be written.
    """
    return _Build(loaded, model, file, options, emit).run()


class _Build:
    def __init__(self, loaded: Loaded, model: Path, file: Path, options: Options, emit: Emit) -> None:
        self.loaded, self.model, self.file, self.options, self.emit = loaded, model, file, options, emit
        self.mapped: MappedModel | None = None  # TensorRT has addresses in it
        self.log: Log
        self.logger: TrtILogger
        self.log, self.logger = messages.listen(loaded)
        self.said: list[messages.Entry] = []

    def run(self) -> Plan:
        self.log.take()
        try:
            return self.once(workarounds.rewritten(self.model))
        except BuildError:
            fixed = workarounds.with_fixed_sizes(self.model, self.options.profiles)
            if fixed is None:
                raise
        self.emit(Message(f"{self.loaded.title}: again with the sizes that the profiles fix", "debug"))
        self.said.clear()
        return self.once(fixed)

    def once(self, content: bytes | None) -> Plan:
        """One attempt, with the file's bytes or with others in their place."""
        brought, doubts = self.plugins() if self.options.plugins else ([], [])
        watch = _Monitor(self.emit, self.give_back)
        plan = own_heap.call(lambda: self.planned(content, watch), watch.tell, _EVERY)
        self.emit(Message(f"{self.loaded.title}: {plan.layers} layers", "debug"))
        warnings = (*doubts, *messages.warnings(self.said))
        return replace(plan, warnings=warnings, plugins=tuple(one.facts() for one in brought))

    def planned(self, content: bytes | None, watch: _Monitor) -> Plan:
        """What TensorRT does, and nothing beside it: the order of its plan follows where its memory lies."""
        builder = self.builder()
        network = self.network(builder)
        self.parse(network, content)
        self.require_values(network)
        config = self.config(builder)
        monitor = tensorrt.progress_monitor(self.loaded.api, watch.start, watch.step, watch.finish)
        config.progress_monitor = monitor  # held here too: it must outlive the build
        written = self.write(builder, network, config)
        self.listen()
        if written is None:
            raise self.refused("cannot build", messages.errors(self.said))
        self.keep_times(config)
        kinds = {tensor.name: dtypes.onnx_name(tensor.dtype) for tensor in _tensors(network)}
        return Plan(written.size, written.sha256, network.num_layers, kinds)

    def give_back(self) -> None:
        """Free what was read of the model's file, once the plan is built."""
        if self.mapped is not None:
            self.mapped.give_back()

    def write(
        self, builder: TrtBuilder, network: TrtINetworkDefinition, config: TrtIBuilderConfig
    ) -> plan_file.PlanFile | None:
        """Build the plan into its file, in pieces where it is large; None: it does not build."""
        with plan_file.PlanFile(self.file) as out:
            if self.loaded.can.by_address and self.model.stat().st_size > plan_file.LARGE:
                writer = tensorrt.stream_writer(self.loaded.api, out.take)
                built = builder.build_serialized_network_to_stream(network, config, writer)
            else:
                plan = builder.build_serialized_network(network, config)
                built = plan is not None
                if plan is not None:
                    out.write_all([memoryview(plan).cast("B")])
        if out.error is not None:
            raise out.error
        return out if built else None

    def plugins(self) -> tuple[list[plugins.Brought], list[str]]:
        """Those loaded, and the nodes held to them: what is doubtful, in sentences."""
        from trtconv.engines.build import plugins
        from trtconv.graph import model_io

        brought = plugins.load(self.loaded, self.options.plugins)
        return brought, plugins.match(self.loaded, model_io.load(self.model, weights=False), brought)

    def builder(self) -> TrtBuilder:
        try:
            return self.loaded.api.Builder(self.logger)
        except (TypeError, RuntimeError) as error:  # "factory function returned nullptr" says nothing of the cause
            self.listen()
            reasons = messages.errors(self.said) or [cuda_driver.problem() or str(error)]
            raise EnvironmentProblem(
                f"{self.loaded.title} does not start: {'; '.join(reasons)}", hint="run trtconv doctor"
            ) from error

    def network(self, builder: TrtBuilder) -> TrtINetworkDefinition:
        strongly_typed = 1 << int(self.loaded.api.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(strongly_typed)
        if network is None:
            self.listen()
            raise self.refused("cannot create a strongly typed network for", messages.errors(self.said))
        return network

    def parse(self, network: TrtINetworkDefinition, content: bytes | None) -> None:
        parser, done = self.parsed(network, content)
        problems = [messages.parser_error(parser.get_error(index)) for index in range(parser.num_errors)]
        self.listen()
        if not done or problems:
            raise self.refused("cannot parse", problems, messages.errors(self.said))
        if network.num_outputs == 0 or network.num_layers == 0:  # an empty or foreign file parses without an error
            raise self.refused("finds nothing to compute in", ["the network has no layers or no outputs"])
        workarounds.decompose(self.loaded.api, network)

    def parsed(self, network: TrtINetworkDefinition, content: bytes | None) -> tuple[TrtOnnxParser, bool]:
        """The parser after its work, and whether it took the model."""
        if content is None:
            found = mapped_model.parse(self.loaded, network, self.logger, self.model)
            self.mapped = found.mapped
            return found.parser, found.done
        parser = self.loaded.api.OnnxParser(network, self.logger)
        return parser, parser.parse(content, str(self.model))

    def require_values(self, network: TrtINetworkDefinition) -> None:
        """A range for every input whose values decide shapes, and for no other."""
        inputs = {tensor.name: tensor for tensor in map(network.get_input, range(network.num_inputs))}
        deciding = {name: tuple(tensor.shape) for name, tensor in inputs.items() if tensor.is_shape_tensor}
        given = profiles.nth(self.options.values, 0)
        if missing := {name: shape for name, shape in deciding.items() if name not in given}:
            listed = ", ".join(map(repr, missing))
            raise UsageError(
                f"{self.model}: the values of input {listed} decide shapes, and their range is not given",
                hint=f"write in the job file, with your own numbers:\n{profiles.values_yaml(missing)}",
            )
        if idle := [name for name in given if name not in deciding]:
            raise UsageError(
                f"{self.model}: the values of input {idle[0]!r} decide no shape", hint=f"remove inputs.{idle[0]}.values"
            )

    def config(self, builder: TrtBuilder) -> TrtIBuilderConfig:
        api, options = self.loaded.api, self.options
        config = builder.create_builder_config()
        if options.workspace is not None:
            config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, options.workspace)
        (config.set_flag if options.tf32 else config.clear_flag)(api.BuilderFlag.TF32)
        if options.targets:
            self.target(config)
        if embedded := [str(one.path) for one in options.plugins if one.embed]:
            config.plugins_to_serialize = embedded
        choices.apply(self.loaded, builder, config, options)
        self.known_times(config)
        for number in range(max(len(options.profiles), len(options.values))):
            profile = builder.create_optimization_profile()
            for name, r in profiles.nth(options.profiles, number).items():
                profile.set_shape(name, r.minimum, r.optimum, r.maximum)
            for name, r in profiles.nth(options.values, number).items():
                profile.set_shape_input(name, r.minimum, r.optimum, r.maximum)
            if config.add_optimization_profile(profile) < 0:
                self.listen()
                raise self.refused("refuses the optimization profile of", messages.errors(self.said))
        return config

    def known_times(self, config: TrtIBuilderConfig) -> None:
        file = self.options.timing_cache
        if file is not None and self.loaded.can.timing_cache:
            cache = config.create_timing_cache(file.read_bytes() if file.exists() else b"")
            config.set_timing_cache(cache, ignore_mismatch=False)

    def keep_times(self, config: TrtIBuilderConfig) -> None:
        file = self.options.timing_cache
        if file is not None and self.loaded.can.timing_cache and (cache := config.get_timing_cache()) is not None:
            files.write_bytes(file, memoryview(cache.serialize()))

    def target(self, config: TrtIBuilderConfig) -> None:
        can = self.loaded.can
        known = choices.targets(self.loaded, self.options.targets)
        config = with_targets(config, can)
        config.num_compute_capabilities = len(self.options.targets)
        for index, name in enumerate(self.options.targets):
            if not config.set_compute_capability(known[name.lower()], index):
                self.listen()
                raise self.refused(f"refuses the target {name} for", messages.errors(self.said))

    def listen(self) -> None:
        self.said += self.log.take()

    def refused(self, what: str, *groups: list[str]) -> BuildError:
        reasons = list(dict.fromkeys(text for group in groups for text in group))
        listed = "".join(f"\n  {reason}" for reason in reasons) or "\n  no reason given"
        hint = messages.hint_for(reasons) or "trtconv inspect shows the model's operators"
        return BuildError(f"{self.loaded.title} {what} {self.model}:{listed}", hint=hint)


def _tensors(network: TrtINetworkDefinition) -> list[TrtITensor]:
    return [network.get_input(index) for index in range(network.num_inputs)] + [
        network.get_output(index) for index in range(network.num_outputs)
    ]


class _Monitor:
    """Progress events: the outermost phase counts, the current inner phase is named; ``built`` is called after it.

    TensorRT calls from its thread, in the middle of its work, where only what it does may decide what memory is taken:
    what it says is noted there and told from another thread.
    """

    def __init__(self, emit: Emit, built: Callable[[], None]) -> None:
        self.emit, self.built = emit, built
        self.root = ""
        self.now = self.told = Progress("", 0, 0)

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        if parent is None:
            self.root, self.now = phase, Progress(phase, 0, steps)
        self.now = replace(self.now, label=phase)

    def step(self, phase: str, number: int) -> None:
        self.now = replace(self.now, label=phase, done=number + 1 if phase == self.root else self.now.done)

    def finish(self, phase: str) -> None:
        self.now = replace(self.now, label=phase)
        if phase == self.root:
            self.now = replace(self.now, done=self.now.total or 0)
            self.built()

    def tell(self) -> None:
        """What is new since the last time."""
        if (now := self.now) != self.told:
            self.told = now
            self.emit(now)

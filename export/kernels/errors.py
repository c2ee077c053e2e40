"""Everything the kernels raise on purpose.

ValueError
├── DeviceUnfit        the tensors lie where these kernels cannot run
├── OperandsUnfit      shapes or types do not fit each other
├── TargetUnfit        no such GPU architecture, or a kernel that cannot be compiled for it
└── TrainingUnfit      a run cannot have these kernels
ImportError
├── TritonAbsent       Triton is not installed
├── TensorRTAbsent     full TensorRT is not installed
└── PluginRefused      TensorRT-RTX was handed in, which must never see a plugin
"""


class DeviceUnfit(ValueError):
    """The tensors lie where these kernels cannot run."""

    def __init__(self, device: str) -> None:
        super().__init__(
            f"x: got a tensor on {device}; allowed: cuda (on a CPU use the modules of "
            "model/layers/norm.py, or set TRITON_INTERPRET=1 before Triton is imported)"
        )


class OperandsUnfit(ValueError):
    """Shapes or types do not fit each other."""

    def __init__(self, name: str, got: object, allowed: str) -> None:
        super().__init__(f"{name}: got {got}; allowed: {allowed}")


class TargetUnfit(ValueError):
    """No such GPU architecture, or a kernel that cannot be compiled for it."""

    def __init__(self, name: str, got: object, allowed: str) -> None:
        super().__init__(f"{name}: got {got}; allowed: {allowed}")


class TrainingUnfit(ValueError):
    """A run cannot have these kernels."""

    def __init__(self, what: str, reason: str) -> None:
        super().__init__(
            f"Triton's kernels are not for {what}: {reason}; dimr-train trains without them"
        )


class TritonAbsent(ImportError):
    """Triton is not installed."""

    def __init__(self) -> None:
        super().__init__("Triton is not installed; run: pip install 'dimr-serve[triton]'")


class TensorRTAbsent(ImportError):
    """Full TensorRT, or its module of Python plugins, is not installed."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"full TensorRT with tensorrt.plugin cannot be imported ({reason}); "
            "run: pip install 'dimr-serve[trt]'"
        )


class PluginRefused(ImportError):
    """TensorRT-RTX was handed in, which must never see a plugin."""

    def __init__(self, library: str) -> None:
        super().__init__(
            f"library: got {library}; allowed: tensorrt (TensorRT-RTX builds no plugin, its parser "
            "aborts the process where one is registered, and its compiler fuses norms by itself)"
        )

"""What compute-sanitizer says, and whose it is."""

from __future__ import annotations

from benchmarks import sanitize

SAID = """========= COMPUTE-SANITIZER
81 calls
========= Invalid __global__ read of size 4 bytes
=========     at first(int *, void *)+0x1a0
=========     by thread (3,0,0) in block (1,0,0)
=========     Host Frame: cuLaunchKernel in libcuda.so.1
=========     Host Frame: __pyx_f in cuda/bindings/_bindings/cydriver.so
=========
========= Program hit cudaErrorInvalidValue (error 1) "invalid argument" on CUDA API call to cudaFuncGetAttributes.
=========     Saved host backtrace up to driver entry point at error
=========     Host Frame: cudaFuncGetAttributes in libtensorrt_rtx.so.1
=========     Host Frame: nvinfer1 in libtensorrt_rtx.so.1
=========     Host Frame: __pyx_f in cuda/bindings/_bindings/cydriver.so
=========
========= Program hit CUDA_ERROR_INVALID_VALUE (error 1) on CUDA API call to cuGetProcAddress_v2.
=========     Saved host backtrace up to driver entry point at error
=========     Host Frame:  [0xd4a2] in cydriver.cpython-312-x86_64-linux-gnu.so
=========
========= Invalid __global__ write of size 2 bytes
=========     at some_kernel+0x10
=========
========= ERROR SUMMARY: 3 errors
"""


def test_reports_are_told_apart_by_who_came_first() -> None:
    found = sanitize.findings(SAID)
    assert [text.split()[0] for text in found] == ["Invalid", "Program", "Invalid"]
    ours, library = sanitize.sort(found)
    assert ours == [found[0], found[2]]  # nobody's frames: taken for ours
    assert library == [found[1]]


def test_a_clean_run_has_no_reports() -> None:
    assert sanitize.findings("========= COMPUTE-SANITIZER\n81 calls\n========= ERROR SUMMARY: 0 errors\n") == []

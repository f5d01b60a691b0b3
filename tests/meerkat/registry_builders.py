"""Operations of a registry, as far as most tests need them."""

from __future__ import annotations

from meerkat.identifiers import OperationId
from meerkat.operations import OperationKind
from meerkat.operations_registry import OpsLifecycleRegistry

CHILD = OperationKind.MOB_MEMBER_CHILD
TOOL = OperationKind.BACKGROUND_TOOL_OP
SLOT = OperationKind.BACKGROUND_TOOL_CAPACITY_SLOT


def begin(registry: OpsLifecycleRegistry, kind: OperationKind = TOOL) -> OperationId:
    operation_id = OperationId.new()
    registry.register(operation_id, kind=kind, display_name="index the docs")
    return operation_id


def running(registry: OpsLifecycleRegistry, kind: OperationKind = TOOL) -> OperationId:
    operation_id = begin(registry, kind)
    registry.provisioning_succeeded(operation_id)
    return operation_id

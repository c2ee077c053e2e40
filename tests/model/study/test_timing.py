"""Networks take turns at being timed."""

from model.study.timing import call_ms


def test_equal_networks_have_one_time_and_others_their_own(layered_recipe):
    whole = layered_recipe.network
    small = whole.model_copy(update={"scales": whole.scales[:1], "outer": ()})
    first, less, again = call_ms([whole, small, whole])
    assert first == again != less
    assert min(first, less) > 0


def test_a_class_network_is_timed_like_a_layered_one(tiny_recipe):
    (found,) = call_ms([tiny_recipe.network])
    assert found > 0

"""Slow cases of tables of tests. A quicker case of the same table shows the same promise.

A whole test that is slow carries the mark `slow` itself.
"""

import fnmatch
import os

import pytest

# Patterns of the names of tests, "file::test[case]".
SLOW = (
    "test_fit_begin::test_an_ordinary_fit_says_nothing",
    "test_fit_distribute::test_two_devices_make_the_mean_of_their_updates",
    "test_package::test_the_installed_wheel_has_all_that_was_put_into_it",
    "test_baselines_learn::test_pca_on_mnist",
    "test_docstrings::test_example?keras_learned_rule.data.text.*",
    "test_docstrings::test_example?keras_learned_rule.data.tfds_images.*",
    "test_experiments::*?filters]",
    "test_fit_inputs::test_an_empty_batch_changes_nothing?compiled_step-auto]",
    "test_fit_model::test_backward_weights_outlast_freezing_and_saving",
    "test_fit_models::test_models_of_every_form_learn?residual_cnn]",
    "test_fit_models::test_mixed_precision_learns_nearly_the_same?mixed_bfloat16]",
    "test_fit_restore::test_saved_model_and_weights_hold_nothing_of_the_fit",
    "test_fit_resume::test_a_killed_fit_of_unknown_length_resumes_exactly?True-3]",
    "test_baselines_conv::test_softhebb_trains_every_layer_again*",
    "test_backends::test_jax_computes*?learned Hebb]",
    "test_backends::test_jax_computes*?neuron network]",
    "test_backends::test_jax_computes*?sparsity]",
    "test_backends::test_jax_computes*?teacher]",
    "test_docstrings::test_example?keras_learned_rule.experiments.*",
    "test_docstrings::test_example?keras_learned_rule.baselines.*",
    "test_docstrings::test_example?keras_learned_rule.meta.train*",
    "test_experiments::*?architectures]",
    "test_experiments::*?conv]",
    "test_experiments::*?cost]",
    "test_experiments::*?embeddings]",
    "test_experiments::*?few_shot]",
    "test_experiments::*?fine_tune]",
    "test_experiments::*?length]",
    "test_experiments::*?objective_mismatch]",
    "test_experiments::*?permuted_features]",
    "test_experiments::*?text]",
    "test_fit::test_equals_iterating_the_update_by_hand?dataset-three steps xla]",
    "test_docstrings::test_example?keras_learned_rule.fit.model.*",
    "test_fit::test_equals_iterating_the_update_by_hand?*-eager]",
    "test_fit::test_equals_iterating_the_update_by_hand?dict*",
    "test_fit::test_equals_iterating_the_update_by_hand?float64*",
    "test_fit::test_equals_iterating_the_update_by_hand?generator-three*",
    "test_fit::test_equals_iterating_the_update_by_hand?label*",
    "test_fit_inputs::test_the_input_is_found_by_its_name?keras*",
    "test_fit_inputs::test_the_input_is_found_by_its_name?None*",
    "test_fit_midway::test_the_fit_goes_on_by_the_rule?on_epoch_end*",
    "test_fit_midway::test_the_fit_goes_on_by_the_rule?on_train_begin*",
    "test_fit_replay::test_a_fit_equals_the_update_by_hand_over_filled_batches?*eager*",
    "test_fit_restore::test_all_of_the_validation_is_ours?[23]]",
    "test_fit_restore::test_evaluation_after_an_interrupted_fit?on_epoch_end]",
    "test_fit_resume::test_checkpoints_load_without_the_rule?.weights.h5]",
    "test_fit_step::test_a_loop_of_ones_own_equals_fit_by_hand?*-learned_hebb_rule]",
    "test_golden::test_five_steps_on_one_batch?[b-z]_*",
    "test_golden::test_three_steps_on_other_batches?[b-z]_*",
    "test_meta_estimators::test_persistent_es_is_unbiased*?*-linear]",
    "test_meta_gradient::test_unroll_steps_and_scores_in_turn?[!c]*",
    "test_rule_update::test_no_input_makes_the_compact_step_large?*neuron*",
    "test_rule_update::test_no_input_makes_the_compact_step_large?*teacher*",
    "test_fit::test_equals_iterating_the_update_by_hand?repeated dataset*",
    "test_fit::test_equals_iterating_the_update_by_hand?sample_weight*",
    "test_fit::test_equals_iterating_the_update_by_hand?tensor*",
    "test_fit::test_equals_iterating_the_update_by_hand?tuple*",
    "test_docstrings::test_example?keras_learned_rule.fit.step.*",
    "test_docstrings::test_example?keras_learned_rule.fit.probe.*",
    "test_fit_model::test_loaded_model_goes_on_where_it_stopped?rule1]",
    "test_fit_replay::test_a_fit_equals_the_update_by_hand_over_filled_batches?*jit_compile*",
    "test_fit_inputs::test_sparse_examples?csr_matrix]",
    "test_fit_inputs::test_sparse_examples?bcoo]",
    "test_fit_midway::test_the_fit_goes_on_by_the_rule?on_test*",
    "test_fit_models::test_a_model_that_is_wrapped_learns_the_same?towers]",
    "test_fit_models::test_mixed_precision_learns_nearly_the_same?mixed_float16]",
    "test_fit_models::test_models_of_every_form_learn?autoencoder]",
    "test_fit_models::test_models_of_every_form_learn?grouped_cnn]",
    "test_fit_models::test_models_of_every_form_learn?lstm]",
    "test_fit_models::test_models_of_every_form_learn?text]",
    "test_fit_models::test_models_of_every_form_learn?transformer]",
    "test_fit_models::test_models_of_every_form_learn?unet]",
    "test_fit_resume::test_a_killed_fit_resumes_exactly?published*",
    "test_fit_resume::test_a_killed_fit_resumes_exactly?teacher*",
    "test_fit_resume::test_a_killed_fit_of_unknown_length_resumes_exactly?False*",
    "test_fit_restore::test_evaluation_after_an_interrupted_fit?on_test*",
    "test_fit_restore::test_after_an_error_in_another_callback?*-True]",
    "test_fit_restore::test_saving_after_an_interrupted_fit?*",
    "test_fit_step::test_a_small_network_learns_from_a_teacher_of_its_own?*step[12]]",
    "test_golden::test_meta_gradients?[b-z]_*",
    "test_meta_gradient::test_meta_gradient_equals_finite_differences?neuron]",
    "test_meta_gradient::test_meta_gradient_equals_finite_differences?teacher]",
    "test_meta_gradient::test_meta_gradient_equals_finite_differences?learned Hebb]",
    "test_fit_errors::test_bad_value_in_a_long_epoch*?[23]]",
    "test_fit_models::test_eager_and_compiled_fits_agree?options1]",
    "test_golden::test_meta_objective_after_steps?*-[b-z]_*",
    "test_rule_update::test_no_input_makes_the_meta_gradient_infinite?*neuron*",
    "test_rule_update::test_no_input_makes_the_meta_gradient_infinite?*teacher*",
    "test_rule_update::test_no_input_makes_the_meta_gradient_infinite?*learned*",
    "test_rule_update::test_xla_computes_what_eager_execution_computes?neuron]",
    "test_rule_update::test_xla_computes_what_eager_execution_computes?published]",
    "test_rule_update::test_xla_computes_what_eager_execution_computes?teacher]",
    "test_rule_update::test_xla_computes_what_eager_execution_computes?learned]",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Gives the mark to the cases; a pattern without a case is an error where all are collected."""
    used = set()
    for item in items:
        name = item.nodeid.rpartition("/")[2].replace(".py::", "::")
        found = {pattern for pattern in SLOW if fnmatch.fnmatchcase(name, pattern)}
        if found:
            item.add_marker(pytest.mark.slow)
        used |= found
    # With another backend a part of the files is collected.
    tensorflow = os.environ["KERAS_BACKEND"] == "tensorflow"
    everything = tensorflow and config.args == config.getini("testpaths")
    if everything and (unused := sorted(set(SLOW) - used)):
        raise pytest.UsageError(f"patterns in tests/slow_cases.py that no test has: {unused}")

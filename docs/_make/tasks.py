"""Public names by what one wants to do. Each stands in one list, in the order in which it is met."""

__all__ = ["TASKS", "names_of"]

TASKS: dict[str, str] = {
    "Load the model": "esmkit: load Esm2 __version__",
    "Read proteins": """
        esmkit: Protein read_fasta
        esmkit.sequences: clean_proteins clean_sequence InputReport OddSequenceWarning
            internal_repeats residue_pairs
    """,
    "Read structures": """
        esmkit: Structure read_structure read_structures
        esmkit.structure: Chain chains_of split_chain CONTACT_CUTOFF
    """,
    "Use the proteins that travel with esmkit": """
        esmkit.data: demo_fasta demo_proteins demo_structure ubiquitin_fasta ts50 ts50_folder
            replication replication_folder repeat_proteins training_proteins
    """,
    "Embed": """
        esmkit: Embedding EsmEmbedder embed_file EmbedOptions EmbeddingFile
        esmkit.embeddings.cluster: embed_dataset Workers check_dataset merge_dataset
    """,
    "Look at attention": """
        esmkit: AttentionMaps attention_file AttentionOptions AttentionFile
        esmkit.attention: attention_figures reduce_maps summarize
    """,
    "Predict contacts": """
        esmkit: ContactMap contacts_file ContactHead
        esmkit.contacts: contacts predict corrected_maps
    """,
    "Score contact maps on structures": """
        esmkit.contacts: score_map evaluate Evaluation summarize_scores differences bootstrap
            precision_curves reliability Reliability
    """,
    "Fit contact heads, and find the best attention heads": """
        esmkit.contacts: fit rank_heads best_heads evaluate_best
    """,
    "Score proteins and variants": """
        esmkit: ProteinScore score_file ScoreOptions ScoreFile
        esmkit.score: log_softmax_20 fit_lm_head FittedHead
        esmkit.score.variants: Variant parse_variant score_variants compare LeftOutWarning
    """,
    "Ask what each head looks at": """
        esmkit.heads: profile HeadProfile Property standard_properties read_annotations Rules
            read_profile write_report QUESTIONS answer
    """,
    "Test what heads do": """
        esmkit.heads: ablate refit_without repeated_sequences repeat_scores real_repeat_scores
            copy_weights within_chains across_proteins with_random_weights with_permuted_weights
    """,
    "Read and edit what a pass computes": """
        esmkit: Trace trace_file TraceOptions
        esmkit.inside: trace mean_of Means
    """,
    "Ask who writes what in a pass": """
        esmkit.inside: decompose Decomposition attribute_logit attribute_contact Effects
            logit_lens LogitLens
    """,
    "Restore by patching": """
        esmkit: patch
        esmkit.inside: Patching NothingToRestoreWarning scrambled mutated log_odds contact_score
    """,
    "Make a page to explore": """
        esmkit: Explorer atlas Atlas explore
        esmkit.explorer: LiveExplorer
    """,
    "Draw attention and contacts": """
        esmkit.plots: attention_head attention_grid attention_arcs attention_flow contact_map
            precision_by_rank reliability_diagram encoder_diagram
    """,
    "Draw heads": """
        esmkit.plots: head_card head_precision_grid property_grid property_map offset_profiles
            ablation_scatter repeat_scores head_effects position_effects
    """,
    "Draw scores": """
        esmkit.plots: logo surprise variant_map variant_scatter logit_lens masked_loss
    """,
    "Draw by yourself": """
        esmkit.plots: save inline_html notebook_style COLOURS draw_matrix map_colours residue_axis
    """,
    "Show links on a structure": """
        esmkit.structure.views: render View Link strongest made_by VIEWERS viewer_of views_asked
            lacking
    """,
    "Files, whatever is in them": "esmkit: read Run",
    "Tokens": """
        esmkit.sequences: encode decode TOKENS BOS EOS MASK PAD UNKNOWN AMINO_ACIDS MAX_RESIDUES
    """,
    "Check the numbers": """
        esmkit.reference: verify Verification
        esmkit: verify_against Diagnosis
        esmkit.against: PartDiagnosis Cause
    """,
    "Reproduce what is published": """
        esmkit: reproduce Reproduction
        esmkit.published: Row
    """,
    "Read the encoder in NumPy": """
        esmkit.reference: encode Encoding embed_tokens apply_mask encoder_layer layer_norm
            multi_head_attention split_heads project_heads scale_query inverse_frequencies
            rotary_tables rotate rotate_half softmax concatenate_heads feed_forward linear gelu
            residue_maps symmetrise average_product_correction contact_features
            contact_probabilities masked_lm_logits masked_lm_steps
    """,
    "Weights of the encoder in NumPy": """
        esmkit.reference: Parameters Layer Attention Affine MaskedLmHead read_parameters
            parameters_of read_masked_lm_head masked_lm_head_of LAYER_NORM_EPS ROTARY_BASE
            TRAIN_MASK_RATE CLS EOS MASK PAD
    """,
    "The transformer of 2017": """
        esmkit.reference.transformer: encoder_layer decoder_layer attend cross_attention
            causal_mask relu embed sinusoidal_positions learned_positions rotary_angles
            run_encoder run_decoder forward Forward Pass multiplications DecoderLayer
            EncoderStack DecoderStack Transformer DecoderOnly random_layer random_decoder_layer
            random_encoder_stack random_decoder_stack random_transformer random_decoder_only
            POSITIONS SINUSOID_BASE
    """,
    "Watch it write": """
        esmkit.reference.transformer: generate Writing choose start_cache step Cache
            write_states score_states
    """,
    "Train it": """
        esmkit.reference.transformer: train loss_and_gradients encoder_layer_backward
            decoder_layer_backward Batch copy_batches state_batches accuracy cut Stretches
            LETTERS RESIDUES STATES BEGIN HIDDEN
    """,
    "Train a small ESM-2 in NumPy": """
        esmkit.reference.training: train Training MaskedLm random_masked_lm parameter_count Adam
            learning_rate clip_gradients masked_lm_loss masked_lm_loss_and_gradients
            save_checkpoint
    """,
    "Batches to train on": """
        esmkit.reference.training: Batch random_batch held_out_batch crops_of hide repeat_rows
    """,
    "Measure what was learned": """
        esmkit.reference.training: loss_of counting_losses offset_shares copy_shares
            letter_similarity
    """,
    "Gradients by hand": """
        esmkit.reference.training: cross_entropy embed_tokens_backward embedding_backward
            encoder_layer_backward feed_forward_backward gelu_backward layer_norm_backward
            linear_backward multi_head_attention_backward relu_backward softmax_backward tree_map
            tree_arrays tree_replace
    """,
    "What the transformer replaced": """
        esmkit.reference.recurrent: RecurrentNetwork TransformerNetwork parameter_count train
            held_out_losses letter_losses bigram_losses letter_spread letter_numbers influence
            growth train_recall recall_accuracy recall_batch time_by_length step_by_step_share
            LETTERS START ASK
    """,
    "Errors and warnings": """
        esmkit: EsmkitError
        esmkit.errors: InputError OptionError CheckpointError MissingDependencyError NonFiniteError
            OutputError ResumeError UnknownIdError ClosedFileError VerificationError
            OfflineCheckpointWarning FittedHeadWarning
    """,
}
"""Tasks, and ``room: names`` of each."""


def names_of(task: str) -> list[str]:
    """Return the paths of the names of a task, such as ``esmkit.load``."""
    room, paths = "", []
    for word in TASKS[task].split():
        if word.endswith(":"):
            room = word[:-1]
        else:
            paths.append(f"{room}.{word}")
    return paths

# One rule trains every model: `dhl.run.model_graph` knows what a model is made from.


rule train:
    input:
        files_of_model,
    output:
        weights=f"{ROOT}/models/{{model}}.pt",
        curve=f"{ROOT}/training/{{model}}.csv",
    log:
        f"{ROOT}/logs/train/{{model}}.log",
    benchmark:
        f"{ROOT}/benchmarks/train/{{model}}.tsv"
    priority: 10
    conda:
        "../../environment.yml"
    threads: CONFIG.threads + CONFIG.workers
    resources:
        last_try=LAST_TRY,
        gpu=ON_GPU,
        # Each worker that decodes images holds its own copy of torch.
        mem_mb=growing(4000 + 500 * CONFIG.workers),
        runtime=1440,
    params:
        # Recipe, network, data, code and parents: training is repeated when one of them changes.
        fingerprint=lambda w: fingerprint(CONFIG, w.model),
    shell:
        dhl_or_record_failure("train {wildcards.model}")

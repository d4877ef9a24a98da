method = Runtime.get().load_program("model.pte").load_method("forward")
probabilities = method.execute([torch.from_numpy(pixels)])[0][0].tolist()
